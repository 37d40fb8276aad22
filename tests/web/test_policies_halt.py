"""With `halt_on_violation` a match is never emitted and ends the run."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import INGEST, TIMEOUT_SECONDS, Served, data
from tests.web.helpers import error_of
from tests.web.policy_agents import SECRET, logged, safety, stored_events, stored_text, text

HALT = safety(halt_on_violation=True, max_output_chars=40)
Emit = Callable[[StreamContext], None]


def tokens(*contents: str) -> Emit:
    def emit(context: StreamContext) -> None:
        for content in contents:
            context.sync_emit_token(content)

    return emit


EMITS: dict[str, Emit] = {
    "one token": tokens(f"b {SECRET}"),
    "tokens": tokens("b se", "cret-", "1234", "c"),
    "a finish reason": lambda context: context.sync_emit_token("", SECRET),
    "progress": lambda context: context.sync_emit_progress("s", 0.5, SECRET),
    "a step": lambda context: context.sync_emit_step("s", input_keys=[SECRET]),
    "a checkpoint": lambda context: context.sync_checkpoint("c", {"a": [SECRET]}),
    "a key": lambda context: context.sync_emit("mine", {"a": {SECRET: 1}}),
    "the name of a field": lambda context: context.sync_emit("mine", {SECRET: 1}),
    "too much": tokens("d" * 41),
    "too much in sum": tokens("d" * 20, "e" * 20, "f" * 20),
}


async def halted(served: Served, run_id: str) -> list[dict[str, Any]]:
    """Wait until a violation ends a run, check everything stored of it, and return its events."""
    record = await served.finished(run_id)
    events = await stored_events(served, run_id)
    assert record["status"] == "failed"
    assert record["error"]["code"] == events[-1]["code"] == "POLICY_VIOLATION"
    assert "policies.safety" in events[-1]["error"]
    assert [event["type"] for event in events if event["type"] in ("complete", "error", "cancelled")] == [
        "error"
    ]
    whole = await stored_text(served, run_id)
    assert not [part for part in ("secret-1", "later", "d" * 21) if part in whole]
    return events


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize("emit", ["tokens", "a checkpoint"])
async def test_violation_stops_async_code(serve: Serve, emit: str) -> None:
    stopped = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("a ")
        EMITS[emit](context)
        try:
            await asyncio.Event().wait()
        finally:
            context.sync_emit_token("later")
            stopped.set()

    served = await serve(agent, policies=HALT)
    async with served.stream() as reader:
        events = [data(message) for message in await reader.all()]
    assert stopped.is_set()
    assert await halted(served, reader.run_id) == events
    assert text(events) in ("a ", "a b ")


@pytest.mark.parametrize("emit", EMITS)
async def test_violation_stops_a_thread_at_its_next_emit(serve: Serve, emit: str) -> None:
    stopped = threading.Event()

    def agent(_payload: Any, context: StreamContext) -> None:
        context.sync_emit_token("a ")
        try:
            EMITS[emit](context)
            for _ in range(int(TIMEOUT_SECONDS / 0.005)):
                context.sync_emit_token("later")
                stopped.wait(0.005)
        except asyncio.CancelledError:
            assert context.cancelled
            stopped.set()
            raise

    served = await serve(agent, policies=HALT)
    events = await halted(served, await served.start())
    assert stopped.is_set()
    assert text(events).startswith("a ")


@pytest.mark.parametrize("emit", EMITS)
async def test_violation_counts_even_if_the_agent_returns_at_once(serve: Serve, emit: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> dict[str, bool]:
        EMITS[emit](context)
        return {"done": True}

    served = await serve(agent, policies=HALT)
    await halted(served, await served.start())


def yields(_payload: Any) -> Iterator[Any]:
    yield "a "
    yield from ("b se", "cret-", "1234")
    yield "later"
    yield {"output": "later"}


async def ayields(payload: Any) -> Any:
    for each in yields(payload):
        yield each


@pytest.mark.parametrize("agent", [yields, ayields])
async def test_generators_are_stopped(serve: Serve, agent: Any) -> None:
    served = await serve(agent, policies=HALT)
    events = await halted(served, await served.start())
    assert text(events) == "a b "


async def test_match_decided_by_the_end_of_the_text_is_a_violation(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("a secret-1")

    served = await serve(agent, policies=safety(redact_patterns=[r"secret-\d$"], halt_on_violation=True))
    assert text(await halted(served, await served.start())) == "a "


def raising(_payload: Any) -> None:
    raise ValueError(SECRET)


OUTPUTS: dict[str, Any] = {
    "text": SECRET,
    "nested": {"a": [{"b": f"is {SECRET}"}]},
    "key": {SECRET: 1},
    "too long": {"a": "d" * 41},
}


@pytest.mark.parametrize("output", OUTPUTS)
async def test_output_can_be_a_violation(serve: Serve, output: str) -> None:
    served = await serve(lambda _payload: OUTPUTS[output], policies=HALT)
    with logged() as log:
        await halted(served, await served.start())
        async with served.client.post("/invoke", json={}) as response:
            body = await error_of(response, 500, "POLICY_VIOLATION")
    assert "secret" not in str(body) + log.getvalue()
    assert '"code":"POLICY_VIOLATION"' in log.getvalue()


async def test_error_can_be_a_violation(serve: Serve) -> None:
    served = await serve(raising, policies=HALT)
    with logged() as log:
        await halted(served, await served.start())
        async with served.client.post("/invoke", json={}) as response:
            await error_of(response, 500, "POLICY_VIOLATION")
    assert SECRET not in log.getvalue()


async def test_output_error_can_be_a_violation(serve: Serve) -> None:
    served = await serve(
        lambda _payload: {"n": 12345678},
        policies=safety(redact_patterns=[r"\d{8} is not"], halt_on_violation=True),
        io_schema={"output": {"properties": {"n": {"type": "string"}}}},
    )
    await halted(served, await served.start())
    async with served.client.post("/invoke", json={}) as response:
        await error_of(response, 500, "POLICY_VIOLATION")


async def test_filtered_text_is_not_a_violation(serve: Serve) -> None:
    def agent(_payload: Any, context: StreamContext) -> str:
        context.sync_emit_token(SECRET)
        return "fine"

    served = await serve(agent, policies=HALT, streaming={"events": {"allowed": "minimal"}})
    assert (await served.finished(await served.start()))["output"] == "fine"
    async with served.client.post("/invoke", json={}) as response:
        assert (await response.json())["output"] == "fine"


async def test_a_cancelled_run_stays_cancelled(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await context.emit_token("a secret-12")
            await asyncio.Event().wait()
        finally:
            context.sync_emit_token("34")

    served = await serve(agent, policies=HALT)
    run_id = await served.start()
    async with served.events(run_id) as reader:
        await reader.until("token")
        async with served.client.delete(f"/runs/{run_id}", params={"reason": SECRET}) as response:
            assert await response.json() == {"run_id": run_id, "status": "cancelled"}
        events = [data(message) for message in await reader.all()]
    assert [event["type"] for event in events] == ["cancelled"]
    assert text(await stored_events(served, run_id)) == "a "
    assert SECRET not in await stored_text(served, run_id)


@pytest.mark.usefixtures("every_backend")
async def test_pushed_violation_ends_the_run(serve: Serve) -> None:
    served = await serve(policies=HALT, streaming={"ingest": INGEST})
    for end in ({"type": "complete", "output": 1}, {"type": "cancelled"}, {"type": "heartbeat"}):
        run_id = await served.start(external="true")
        events = [{"type": "token", "content": "a"}, {"type": "custom:x", "y": SECRET}, end]
        async with served.client.post(f"/runs/{run_id}/events", json=events) as response:
            assert response.status == 200, await response.text()
        assert text(await halted(served, run_id)) == "a"
