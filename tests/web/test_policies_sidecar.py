"""Output policies apply to sidecar agents."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from dockrion.policies.patterns import MASK
from tests.conftest import Serve
from tests.support import data
from tests.web.policy_agents import SECRET, safety, stored_events, stored_text, text
from tests.web.test_sidecar import process, sidecar

PIECES = ("a sec", "ret", "-12", "34 b", " secret-12")


def event(name: str, value: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


def delta(content: str, reason: str | None = None) -> bytes:
    choice = {"delta": {"content": content}, "finish_reason": reason}
    return b"data: %s\n\n" % msgspec.json.encode({"choices": [choice]})


NAMED = b"".join(event("token", {"content": piece}) for piece in PIECES)
OPENAI = b"".join(map(delta, PIECES)) + delta("", "stop") + b"data: [DONE]\n\n"


def answering(body: bytes, content_type: str = "text/event-stream", status: int = 200) -> Callable[..., Any]:
    async def work(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, status=status)

    return work


@pytest.mark.parametrize(
    "body",
    [NAMED + event("complete", {"output": f"a {SECRET} b secret-12"}), OPENAI],
    ids=["named", "in OpenAI's style"],
)
async def test_tokens_of_a_sidecar_are_masked_as_one_text(serve: Serve, body: bytes) -> None:
    async with process(answering(body)) as url:
        served = await sidecar(serve, url, policies=safety())
        async with served.stream() as reader:
            events = [data(message) for message in await reader.all()]
        async with served.client.post("/invoke", json={}) as response:
            assert (await response.json())["output"] == f"a {MASK} b secret-12"
    assert text(events) == events[-1]["output"] == f"a {MASK} b secret-12"
    assert SECRET not in await stored_text(served, reader.run_id)


FAILURES: dict[str, Callable[..., Any]] = {
    "said": answering(
        NAMED + event("error", {"error": f"at {SECRET}", "code": "MINE", "details": {SECRET: SECRET}})
    ),
    "refused": answering(f"no {SECRET}".encode(), "text/plain", 500),
    "a wrong event": answering(event("progress", {"step": "a", SECRET: 1})),
    "another type": answering(b"{}", f"text/{SECRET}"),
}


@pytest.mark.parametrize("how", FAILURES)
async def test_errors_of_a_sidecar_are_masked(serve: Serve, how: str) -> None:
    async with process(FAILURES[how]) as url:
        served = await sidecar(serve, url, policies=safety())
        run_id = await served.start()
        error = (await served.finished(run_id))["error"]
        async with served.client.post("/invoke", json={}) as response:
            body = await response.text()
            assert response.status >= 500
    assert MASK in str(error)
    assert SECRET not in body + await stored_text(served, run_id)


async def test_halt_closes_the_connection_to_a_sidecar(serve: Serve) -> None:
    async with process(answering(NAMED + event("complete", {"output": 1}))) as url:
        served = await sidecar(serve, url, policies=safety(halt_on_violation=True))
        run_id = await served.start()
        record = await served.finished(run_id)
        events = await stored_events(served, run_id)
    assert record["error"]["code"] == "POLICY_VIOLATION"
    assert text(events) == "a "
    assert [event["type"] for event in events] == ["started", "token", "error"]
