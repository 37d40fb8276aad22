"""Whatever agents, producers and callers send, event streams consist of exactly the events in the log."""

import asyncio
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion import StreamContext
from dockrion.runs.session import current_session
from tests.conftest import Serve
from tests.fuzz.harness import check_healthy, fuzz_settings
from tests.fuzz.streams import json_values, parse_stream, read_strictly, text, well_formed
from tests.support import INGEST, PUSH_TOKEN, Served
from tests.web.wire import Wire, wire

Script = list[tuple[str, tuple[Any, ...]]]


class Hostile:
    """An agent that follows a script."""

    def __init__(self) -> None:
        self.script: Script = []
        self.end: Any = None
        self.accepted: Script = []

    async def __call__(self, _payload: Any, context: StreamContext) -> Any:
        self.accepted = []
        for method, arguments in self.script:
            try:
                emitter: Any = current_session() if method == "emit_event" else context
                await getattr(emitter, method)(*arguments)
            except (TypeError, ValueError):
                continue
            self.accepted.append((method, arguments))
        if self.end == "wait":
            await asyncio.Event().wait()
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


values = json_values(text)
emits = st.one_of(
    st.tuples(st.just("emit_token"), st.tuples(text, st.none() | text)),
    st.tuples(st.just("emit_progress"), st.tuples(text, st.floats(), st.none() | text)),
    st.tuples(st.just("emit_step"), st.tuples(text, st.none() | st.floats(), st.lists(text, max_size=2))),
    st.tuples(st.just("checkpoint"), st.tuples(text, values)),
    st.tuples(st.just("emit"), st.tuples(text | st.sampled_from(["mine", "custom:mine", "mine\n"]), values)),
    st.tuples(st.just("emit_event"), st.tuples(st.dictionaries(st.just("type") | text, values, max_size=3))),
)
ends = values | text.map(ValueError) | st.builds(KeyError, values) | text.map(asyncio.InvalidStateError)


@pytest.fixture
async def hostile(serve: Serve) -> tuple[Served, Hostile]:
    agent = Hostile()
    streaming = {"ingest": INGEST}
    return await serve(agent, streaming=streaming), agent


@fuzz_settings(80)
@given(script=st.lists(emits, max_size=6), end=ends)
async def test_streams_contain_exactly_the_events_the_agent_emitted(
    hostile: tuple[Served, Hostile], caplog: pytest.LogCaptureFixture, script: Script, end: Any
) -> None:
    served, agent = hostile
    agent.script, agent.end = script, end
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", body=b"{}")
        _, headers = await connection.head()
        events = await parse_stream(served, headers["x-run-id"], await connection.body())
    assert await read_strictly(served, headers["x-run-id"]) == events
    assert len(events) == 1 + len(agent.accepted) + 1
    for (method, arguments), event in zip(agent.accepted, events[1:], strict=False):
        if method == "emit_token":
            assert event["content"] == arguments[0]
    await check_healthy(served, caplog)


@fuzz_settings(40)
@given(end=ends)
async def test_invoke_returns_the_output_or_an_error(
    hostile: tuple[Served, Hostile], caplog: pytest.LogCaptureFixture, end: Any
) -> None:
    served, agent = hostile
    agent.script, agent.end = [], end
    async with served.client.post("/invoke", json={}) as response:
        body = await response.json()
    expected = ("AGENT_EXECUTION_ERROR", "INVALID_OUTPUT")
    assert response.status == 200 or (response.status == 500 and body["code"] in expected), body
    assert "Traceback" not in str(body)
    await check_healthy(served, caplog)


@fuzz_settings(40)
@given(reason=st.binary(max_size=12) | text.map(lambda text: text.encode("utf-8", "surrogatepass")))
async def test_a_reason_is_returned_unchanged_and_injects_no_frame(
    hostile: tuple[Served, Hostile], caplog: pytest.LogCaptureFixture, reason: bytes
) -> None:
    served, agent = hostile
    agent.script, agent.end = [], "wait"
    run_id = await served.start()
    async with wire(served) as connection:
        await connection.ask("DELETE", f"/runs/{run_id}?reason={quote_from_bytes(reason)}")
        status, _ = await connection.head()
    assert " 200 " in status
    end = (await read_strictly(served, run_id))[-1]
    assert end["type"] == "cancelled"
    if _is_text(reason):
        assert end["reason"] == reason.decode()
    await check_healthy(served, caplog)


def _is_text(data: bytes) -> bool:
    return data.decode("utf-8", "replace").encode() == data


pushed = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["token", "progress", "step", "checkpoint", "custom:mine", "heartbeat"])
        | well_formed
    },
    optional={
        name: json_values(well_formed)
        for name in (
            "content",
            "step",
            "progress",
            "node_name",
            "name",
            "data",
            "finish_reason",
            "id",
            "sequence",
        )
    },
)
likely = st.builds(lambda content: {"type": "token", "content": content}, well_formed)
ended = st.builds(
    lambda kind, output, code: {
        "type": kind,
        **{"complete": {"output": output}, "error": code}.get(kind, {}),
    },
    st.sampled_from(["complete", "error", "cancelled"]),
    json_values(well_formed),
    st.fixed_dictionaries(
        {"error": well_formed}, optional={"code": well_formed, "details": json_values(well_formed)}
    ),
)
batches = st.lists(likely | pushed, max_size=5) | st.lists(likely | pushed | ended, max_size=5)


@fuzz_settings(50)
@given(batches=st.lists(batches, min_size=1, max_size=3), lines=st.booleans())
async def test_batches_of_pushed_events_are_accepted_or_rejected_as_a_whole(
    hostile: tuple[Served, Hostile],
    caplog: pytest.LogCaptureFixture,
    batches: list[list[Any]],
    *,
    lines: bool,
) -> None:
    served, _ = hostile
    run_id = await served.start(external="true")
    accepted: list[Any] = []
    async with wire(served) as connection:
        for batch in [*batches, [{"type": "complete"}]]:
            if await _push(connection, run_id, batch, lines=lines):
                accepted += batch
    events = await read_strictly(served, run_id)
    assert len(events) == 1 + len(accepted)
    for sent, event in zip(accepted, events[1:], strict=True):
        assert event["type"] == sent["type"]
    await check_healthy(served, caplog)


async def _push(connection: Wire, run_id: str, batch: list[Any], *, lines: bool) -> bool:
    encode = msgspec.json.Encoder().encode_lines if lines else msgspec.json.encode
    kind = "application/x-ndjson" if lines else "application/json"
    body = encode(batch)
    await connection.send(
        b"POST /runs/%b/events HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: %b\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (run_id.encode(), kind.encode(), PUSH_TOKEN.encode(), len(body), body)
    )
    status, headers = await connection.head()
    response = msgspec.json.decode(await connection.content(headers))
    assert " 200 " in status or response["code"] == "VALIDATION_ERROR", response
    return " 200 " in status
