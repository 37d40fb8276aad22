"""Invalid pushed events: how they are reported, and that their batch has no effect."""

from io import BytesIO
from typing import Any

import msgspec
import pytest

from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import error_of
from tests.web.test_push import ALL, ENABLED, END, own, push, refused

GOOD: dict[str, Any] = {"type": "token", "content": "good"}
# Invalid events, each with a part of the error.
WRONG: list[tuple[Any, str]] = [
    (1, "object"),
    (None, "object"),
    ("token", "object"),
    ([GOOD], "object"),
    ({}, "type"),
    ({"type": None}, "type"),
    ({"type": ["token"]}, "type"),
    ({"type": ""}, "not a type"),
    ({"type": "Token", "content": "x"}, "not a type"),
    ({"type": "started", "agent_name": "a", "framework": "f"}, "not a type"),
    ({"type": "gap"}, "not a type"),
    ({"type": "custom"}, "not a type"),
    ({"type": "custom:"}, "custom event name"),
    ({"type": "custom:a-b"}, "custom event name"),
    ({"type": "custom:a", "sequence": 1}, "sequence"),
    ({"type": "token"}, "needs content"),
    ({"type": "token", "content": 1}, "content"),
    ({"type": "token", "content": "x", "more": 1}, "more"),
    ({"type": "token", "content": "x", "id": "i"}, "id"),
    ({"type": "progress"}, "needs step and progress"),
    ({"type": "progress", "step": "s", "progress": "half"}, "progress"),
    ({"type": "step", "node_name": "n", "input_keys": "abc"}, "input_keys"),
    ({"type": "step", "node_name": "n", "output_keys": [1]}, "output_keys"),
    ({"type": "checkpoint", "name": "n"}, "needs data"),
    ({"type": "heartbeat", "beat": 1}, "beat"),
    ({"type": "complete", "output": 1, "more": 1}, "more"),
    ({"type": "complete", "metadata": [1]}, "metadata"),
    ({"type": "error"}, "error"),
    ({"type": "error", "error": 1}, "error"),
    ({"type": "error", "error": "e", "code": "lower"}, "code"),
    ({"type": "error", "error": "e", "code": None}, "code"),
    ({"type": "error", "error": "e", "code": "E" * 65}, "code"),
    ({"type": "error", "error": "e", "code": "E\n"}, "code"),
    ({"type": "error", "error": "e", "reason": "r"}, "reason"),
    ({"type": "cancelled", "reason": 1}, "reason"),
    ({"type": "cancelled", "reason": "r" * 1001}, "reason"),
    ({"type": "cancelled", "output": 1}, "output"),
]


async def begun(serve: Serve, **sections: Any) -> tuple[Served, str]:
    served = await serve(**{"streaming": ENABLED, **sections})
    return served, await served.start(external="true")


async def ends_empty(served: Served, run_id: str) -> None:
    """Check that nothing was accepted, not even a producer_seq."""
    assert (await push(served, run_id, END, producer_seq=1))["accepted"] == 1
    assert await own(served, run_id) == []


async def test_invalid_events_are_reported_and_nothing_is_accepted(serve: Serve) -> None:
    served, run_id = await begun(serve)
    for event, reason in WRONG:
        body = await refused(served, run_id, [GOOD, event, GOOD], producer_seq=1)
        assert "1 of 3" in body["error"], event
        (problem,) = body["details"]
        assert problem.keys() == {"event", "error"}
        assert problem["event"] == 1
        assert reason in problem["error"], problem
    await ends_empty(served, run_id)


async def test_single_invalid_event_has_index_zero(serve: Serve) -> None:
    served, run_id = await begun(serve)
    for event, _ in WRONG:
        if isinstance(event, dict):
            (problem,) = (await refused(served, run_id, event))["details"]
            assert problem["event"] == 0
    await ends_empty(served, run_id)


@pytest.mark.parametrize("follows", [GOOD, END, {"type": "cancelled"}, {"type": "heartbeat"}])
@pytest.mark.parametrize("end", [END, {"type": "error", "error": "e"}, {"type": "cancelled"}])
async def test_nothing_may_follow_a_terminal_event(serve: Serve, end: Any, follows: Any) -> None:
    served, run_id = await begun(serve)
    body = await refused(served, run_id, [GOOD, end, follows, GOOD], producer_seq=1)
    assert [problem["event"] for problem in body["details"]] == [2, 3]
    await ends_empty(served, run_id)


async def test_first_problems_are_listed_and_all_are_counted(serve: Serve) -> None:
    served, run_id = await begun(serve)
    body = await refused(served, run_id, [GOOD, *[{"type": "token"}] * 500])
    assert "500 of 501" in body["error"]
    assert [problem["event"] for problem in body["details"]] == list(range(1, 21))
    await ends_empty(served, run_id)


@pytest.mark.parametrize("count", [0, 1001])
async def test_size_of_a_batch_is_limited(serve: Serve, count: int) -> None:
    served, run_id = await begun(serve)
    assert "1000" in (await refused(served, run_id, [GOOD] * count))["error"]
    await ends_empty(served, run_id)


async def test_thousand_events_are_accepted(serve: Serve) -> None:
    served, run_id = await begun(serve)
    assert (await push(served, run_id, [GOOD] * 999 + [END]))["accepted"] == 1000
    assert await own(served, run_id) == [GOOD | {"finish_reason": None}] * 999


BODIES: dict[str, tuple[str, bytes, int, str]] = {
    "empty": ("application/json", b"", 400, "VALIDATION_ERROR"),
    "empty lines": ("application/x-ndjson", b"", 400, "VALIDATION_ERROR"),
    "blank lines": ("application/x-ndjson", b"\n \r\n\n", 400, "VALIDATION_ERROR"),
    "no JSON": ("application/json", b'{"type"', 400, "VALIDATION_ERROR"),
    "two values": ("application/json", b"{} {}", 400, "VALIDATION_ERROR"),
    "no UTF-8": ("application/json", b'{"type": "token", "content": "\xff"}', 400, "VALIDATION_ERROR"),
    "lone surrogate": (
        "application/json",
        rb'{"type":"token","content":"\ud800 or"}',
        400,
        "VALIDATION_ERROR",
    ),
    "depths": ("application/json", b"[" * 100_000, 400, "VALIDATION_ERROR"),
    "depths in a line": ("application/x-ndjson", b"[" * 100_000, 400, "VALIDATION_ERROR"),
    "number without end": (
        "application/json",
        b'{"type":"checkpoint","name":"n","data":1e999}',
        400,
        "VALIDATION_ERROR",
    ),
    "text": ("text/plain", b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
    "form": ("application/x-www-form-urlencoded", b"a=b", 415, "UNSUPPORTED_MEDIA_TYPE"),
    "too large": ("application/json", b" " * (10 * 1024**2 + 1), 413, "PAYLOAD_TOO_LARGE"),
    "lines too large": ("application/x-ndjson", b"\n" * (10 * 1024**2 + 1), 413, "PAYLOAD_TOO_LARGE"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_malformed_bodies_are_refused(serve: Serve, name: str) -> None:
    content_type, body, status, code = BODIES[name]
    served, run_id = await begun(serve)
    headers = {"Content-Type": content_type}
    async with served.client.post(
        f"/runs/{run_id}/events?producer_seq=1", data=BytesIO(body), headers=headers
    ) as response:
        await error_of(response, status, code)
    await ends_empty(served, run_id)


async def test_malformed_line_is_named(serve: Serve) -> None:
    served, run_id = await begun(serve)
    body = msgspec.json.encode(GOOD) + b"\n\n{nothing}\n" + msgspec.json.encode(GOOD)
    headers = {"Content-Type": "application/x-ndjson"}
    async with served.client.post(f"/runs/{run_id}/events", data=body, headers=headers) as response:
        (problem,) = (await error_of(response, 400, "VALIDATION_ERROR"))["details"]
    assert problem["line"] == 3
    assert problem["error"].startswith("not valid JSON")
    await ends_empty(served, run_id)


async def test_line_with_an_array_is_not_an_event(serve: Serve) -> None:
    served, run_id = await begun(serve)
    headers = {"Content-Type": "application/x-ndjson"}
    body = msgspec.json.encode(ALL)
    async with served.client.post(f"/runs/{run_id}/events", data=body, headers=headers) as response:
        (problem,) = (await error_of(response, 400, "VALIDATION_ERROR"))["details"]
    assert problem["event"] == 0
    await ends_empty(served, run_id)


@pytest.mark.parametrize("depth", [200, 900])
async def test_depth_of_a_pushed_terminal_event_is_limited(serve: Serve, depth: int) -> None:
    served, run_id = await begun(serve)
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    end = {"type": "complete", "output": 1, "metadata": {"deep": deep}}
    body = msgspec.json.encode([GOOD, end])
    headers = {"Content-Type": "application/json"}
    async with served.client.post(f"/runs/{run_id}/events", data=body, headers=headers) as response:
        assert response.status in (200, 400), await response.text()
        accepted = response.status == 200
    if not accepted:
        await ends_empty(served, run_id)
    else:
        record = await served.finished(run_id)
        assert record["metadata"]["deep"] == deep
