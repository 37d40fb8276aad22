"""The endpoints of AG-UI: whose run it is, and going on at any frame on every replica."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.events import Entry
from dockrion.protocols.ag_ui.encoder import RunEncoder
from tests.conftest import Serve
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import messages_of
from tests.support import Served, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits, error_of, gauge
from tests.web.protocols.ag_ui_client import (
    AG_UI,
    CONTINUE,
    body,
    cut_after,
    events_of,
    frames_of,
    id_of,
    kinds,
    pair,
    post,
    read,
    reading,
    talks,
)
from tests.web.repeating import EVERY_BACKEND, KEY


@EVERY_BACKEND
async def test_stream_cut_after_every_frame_goes_on_at_another_replica(serve: Serve) -> None:
    here, there = await pair(serve, talks, streaming=CONTINUE)
    whole = frames_of(await post(here, body("cut-00")))
    assert len(whole) > 20
    for number in range(1, len(whole) + 1):
        run_id = f"cut-{number:02}"
        async with here.client.post("/ag-ui", json=body(run_id)) as response:
            location = response.headers["Location"]
            before = await cut_after(response, number)
        assert location == f"/ag-ui/runs/{run_id}"
        after = await read(there, run_id, id_of(before[-1]))
        if number == len(whole):
            assert after is None
            continue
        assert after is not None
        found = frames_of(after)
        reopened = [frame for frame in found if not frame.startswith(b"id: ")]
        rest = found[len(reopened) :]
        assert b"".join(before + rest).replace(run_id.encode(), b"cut-00") == b"".join(whole)
        verify(events_of(after))


@EVERY_BACKEND
async def test_reader_who_goes_on_while_the_agent_works(serve: Serve) -> None:
    here, there = await pair(serve, agent := Waits(), streaming=CONTINUE)
    async with here.client.post("/ag-ui", json=body()) as response:
        before = await cut_after(response, 3)
    await wait_until(lambda: gauge(here.service.metrics.requests.open_streams) == 0)
    readers = [asyncio.create_task(read(there, "run-1", last)) for last in (id_of(before[-1]), "2", None)]
    await wait_until(lambda: gauge(there.service.metrics.requests.open_streams) == len(readers))
    agent.go.set()
    found = await asyncio.gather(*readers)
    first, second, whole = (stream or b"" for stream in found)
    assert first == second
    assert kinds(first)[:2] == ["RUN_STARTED", "TEXT_MESSAGE_START"]
    assert whole.endswith(b"".join(frames_of(first)[2:]))
    assert b"".join(before) + b"".join(frames_of(first)[2:]) == whole
    for stream in (first, whole):
        verify(events_of(stream))
    for last in (id_of(frames_of(whole)[-1]), "4"):
        assert await read(here, "run-1", last) is None
    assert await read(there, "run-1", "99") == whole  # of another run with this id


async def test_readers_who_come_at_different_times_share_what_is_encoded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = RunEncoder.encode, []

    def count(self: Any, state: Any, entries: Sequence[Entry]) -> Any:
        encoded.append(entries[-1].sequence)
        return encode(self, state, entries)

    served = await serve(agent := Waits(), expose=AG_UI, streaming=CONTINUE)
    async with served.client.post("/ag-ui", json=body()) as response:
        first = await cut_after(response, 3)
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    early = asyncio.create_task(read(served, "run-1"))
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 1)
    late = asyncio.create_task(read(served, "run-1", id_of(first[-1])))
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
    monkeypatch.setattr(RunEncoder, "encode", count)
    agent.go.set()
    await asyncio.gather(early, late)
    assert encoded == sorted(set(encoded))


async def test_caller_s_ids_are_kept_and_the_run_has_its_id_if_it_can(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=AG_UI)

    async def run_id_for(run_id: str, text: str = "Hello") -> str:
        async with served.client.post("/ag-ui", json=body(run_id, text)) as response:
            found = await response.read()
            for event in (events_of(found)[0], events_of(found)[-1]):
                assert (event["threadId"], event["runId"]) == ("thread-1", run_id)
            return response.headers["X-Run-Id"]

    assert await run_id_for("run-1") == "run-1"
    assert await run_id_for("run-1") == "run-1"  # an equal request has the same run
    assert await run_id_for("run-1", "Another") != "run-1"
    assert await run_id_for("no valid id/\n") != "no valid id/\n"
    strict = await serve(lambda _: "Hi", expose=AG_UI, streaming={"allow_client_ids": False})
    async with strict.client.post("/ag-ui", json=body()) as response:
        assert response.headers["X-Run-Id"] != "run-1"


async def test_request_with_a_key_is_carried_out_once(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=AG_UI)
    agent.go.set()
    first = await post(served, body("run-1"), headers=KEY)
    assert await post(served, body("run-1"), headers=KEY) == first
    assert len(agent.payloads) == 1
    agent.go.clear()
    async with served.client.post("/ag-ui", json=body("run-2")) as own:
        await own.content.readuntil(b"first")
        async with served.client.post("/ag-ui", json=body("run-2")) as repeated:
            await cut_after(repeated, 3)
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 1)
        agent.go.set()
        await own.read()
    assert (await served.finished("run-2"))["status"] == "completed"


async def test_caller_who_leaves_stops_the_agent_unless_it_is_to_go_on(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=AG_UI)
    for run_id, query in (("stops", ""), ("goes-on", "?on_disconnect=continue")):
        async with served.client.post(f"/ag-ui{query}", json=body(run_id)) as response:
            await cut_after(response, 3)
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    await wait_until(lambda: agent.stopped)
    agent.go.set()
    assert (await served.finished("stops"))["status"] == "cancelled"
    assert (await served.finished("goes-on"))["status"] == "completed"
    assert events_of(await post(served, body("stops")))[-1]["outcome"] == {"type": "success"}
    assert len(agent.payloads) == 3
    await post(served, body("goes-on"))
    assert len(agent.payloads) == 3
    async with served.client.post("/ag-ui?on_disconnect=maybe", json=body()) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


async def test_run_that_was_started_elsewhere_is_read_with_its_own_ids(serve: Serve) -> None:
    served = await serve(talks, expose=AG_UI)
    run_id = await served.start()
    stream = await read(served, run_id) or b""
    verify(events_of(stream))
    assert events_of(stream)[0].items() >= {"threadId": run_id, "runId": run_id}.items()
    named = await read(served, run_id, runId="mine") or b""
    assert events_of(named)[-1].items() >= {"threadId": run_id, "runId": "mine"}.items()


async def test_only_who_may_read_a_run_goes_on_with_it(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(talks, expose=AG_UI, **mode.sections(tmp_path))
        owner = mode.key("owner")
        whole = await post(served, body(), headers=owner)
        assert await read(served, "run-1", headers=owner) == whole
        assert await read(served, "run-1", headers=mode.key("auditor")) == whole
        async with reading(served, "run-1", headers=mode.key("other")) as response:
            await error_of(response, 404, "NOT_FOUND")
        async with reading(served, "run-1") as response:
            await error_of(response, 401, "AUTH_ERROR")
        async with served.client.post("/runs/run-1/token", headers=owner) as response:
            token = (await response.json())["events_token"]
        assert await read(served, "run-1", token=token) == whole


async def test_events_that_are_no_longer_stored_are_said_to_be_lost(serve: Serve) -> None:
    async def counts(_: Any, context: StreamContext) -> None:
        for number in range(30):
            await context.emit_token(f"{number} ")

    served = await serve(counts, expose=AG_UI, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    for last in (None, "3", "4.1"):
        stream = await read(served, run_id, last) or b""
        verify(events_of(stream))
        assert "dockrion.gap" in [event.get("name") for event in events_of(stream)]
        ids = [message.id for message in messages_of(stream)]
        assert ids == [None] * ids.count(None) + [each for each in ids if each is not None]


@pytest.mark.parametrize("last", ["x", "1.", "1.1.1", "-1", "1" * 20])
async def test_malformed_positions_are_refused(serve: Serve, last: str) -> None:
    served = await serve(talks, expose=AG_UI)
    await post(served, body())
    async with reading(served, "run-1", last) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


REFUSED: dict[str, dict[str, Any]] = {
    "no messages": body() | {"messages": []},
    "unknown role": body() | {"messages": [{"id": "1", "role": "oracle", "content": "x"}]},
    "no thread": {name: value for name, value in body().items() if name != "threadId"},
    "long id": body("x" * 513),
    "schema": body(text=""),
}


async def test_requests_that_are_not_valid_are_refused(serve: Serve) -> None:
    schema = {"properties": {"messages": {"items": {"properties": {"content": {"minLength": 1}}}}}}
    served: Served = await serve(talks, expose=AG_UI, io_schema={"input": schema})
    await post(served, body("kept", protocolVersion="1.0" * 1000))
    kept = (await served.service.backend.get("kept")).protocol
    assert kept == {"threadId": "thread-1", "runId": "kept", "before1.0": False}
    for sent in REFUSED.values():
        async with served.client.post("/ag-ui", json=sent) as response:
            await error_of(response, 400, "VALIDATION_ERROR")
    async with served.client.post("/ag-ui", data=b"{}", headers={"Content-Type": "text/plain"}) as response:
        await error_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    async with reading(served, "none") as response:
        await error_of(response, 404, "NOT_FOUND")
    async with reading(served, "none", runId="x" * 513) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
