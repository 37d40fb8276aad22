"""Invocations that are unlisted runs: they answer as `/invoke` does, and nobody else knows of them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext, ids
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.errors import DockrionError, TooManyRuns
from dockrion.runs.agent import Call, Invocation
from dockrion.runs.execution import time_left
from dockrion.runs.outcome import Completed, Outcome
from dockrion.web.stored_invocation import invoke_stored, stored_outcome
from tests.conftest import Serve
from tests.support import INGEST, TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import Waits

STRICT = {"strict": True, "output": {"type": "object", "required": ["answer"]}}
Result = tuple[Completed, float]


async def invoke(served: Served, payload: Any = None, *, limit: float | None = None) -> Result:
    return await invoke_stored(served.service, Call(payload), ids.uuid7(), ids.new_incarnation(), limit)


async def outcome_of(result: Awaitable[tuple[Outcome, float]]) -> tuple[Any, ...]:
    """Return what can be compared of an outcome."""
    try:
        done, _ = await result
    except DockrionError as error:
        return type(error), error.message, error.code, error.details, error.headers
    assert isinstance(done, Completed)
    return done.output, done.metadata.get("output_errors"), done.metadata.get("usage")


async def same_outcomes(served: Served, limit: float | None = None) -> tuple[Any, ...]:
    """Return the outcome of an agent, which does not depend on the kind of the invocation."""
    stored = await outcome_of(invoke(served, {}, limit=limit))
    direct = await outcome_of(served.service.runs.invoke(Call({}), ids.uuid7(), limit))
    assert stored == direct
    return stored


async def emitting(payload: Any, context: StreamContext) -> dict[str, Any]:
    await context.emit_token("not stored")
    await context.emit("anything", {"n": 1})
    await context.emit_usage("m", input_tokens=3, output_tokens=4)
    return {"answer": payload, "filter": context.events_filter.allows("token")}


async def raising(_payload: Any) -> None:
    raise ValueError("wrong in /srv/agent.py")


async def not_json(_payload: Any) -> Any:
    return object()


async def asking(_payload: Any, context: StreamContext) -> Any:
    return await context.ask("May I?")


async def endless(_payload: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize("agent", [emitting, raising, not_json, asking], ids=lambda agent: agent.__name__)
async def test_outcome_is_that_of_invoke(serve: Serve, agent: Callable[..., Any]) -> None:
    await same_outcomes(await serve(agent, io_schema=STRICT))


async def test_outcome_that_breaks_the_schema_says_how(serve: Serve) -> None:
    served = await serve(lambda payload: payload, io_schema=STRICT)
    output, errors, _ = await same_outcomes(served)
    assert output == b"{}"
    assert errors


async def test_agent_that_takes_too_long_is_stopped(serve: Serve) -> None:
    served = await serve(endless)
    kind, *_ = await same_outcomes(served, limit=0.05)
    assert kind.code == "TIMEOUT_ERROR"
    await wait_until(lambda: not served.service.runs._in_flight)


@pytest.mark.usefixtures("every_backend")
async def test_wait_for_a_slot_counts_towards_the_limit(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    await served.start("first")
    await wait_until(lambda: agent.payloads)
    kind, *_ = await same_outcomes(served, limit=0.05)
    assert kind.code == "TIMEOUT_ERROR"
    assert agent.payloads == ["first"]
    agent.go.set()


def test_agent_gets_what_the_wait_for_its_slot_has_left() -> None:
    run = Run(run_id="r", status="accepted", created_at=datetime.now(UTC) - timedelta(seconds=700))
    left = time_left(Call(None, invocation=Invocation(1000, 60)), run, 2000)
    assert left is not None
    assert 200 < left <= 300
    assert time_left(Call(None, invocation=Invocation(500, 60)), run, 2000) == 0
    assert time_left(Call(None, invocation=Invocation(None, 60)), run, 2000) is None


def test_time_of_attempts_before_this_one_counts() -> None:
    begun = datetime.now(UTC) - timedelta(seconds=700)
    run = Run(run_id="r", status="accepted", created_at=begun, started_at=begun)
    left = time_left(Call(None), run, 1000)
    assert left is not None
    assert 200 < left <= 300
    assert time_left(Call(None), run, 500) == 0
    assert time_left(Call(None), run, 500, waiting_counts=False) == 500
    assert time_left(Call(None), msgspec.structs.replace(run, started_at=None), 500) == 500


async def test_full_queue_refuses(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1, "max_queued_runs": 0})
    await served.start()
    await wait_until(lambda: agent.payloads)
    with pytest.raises(TooManyRuns):
        await invoke(served)
    agent.go.set()


async def test_shutdown_answers_as_invoke_does(serve: Serve) -> None:
    served = await serve(agent := Waits())
    calls = [
        asyncio.create_task(outcome_of(invoke(served, {}))),
        asyncio.create_task(outcome_of(served.service.runs.invoke(Call({}), ids.uuid7(), None))),
    ]
    await wait_until(lambda: len(agent.payloads) == 2)
    await served.service.drain(0)
    first, second = await asyncio.gather(*calls)
    assert first == second
    assert first[2] == "SERVICE_UNAVAILABLE"


async def test_caller_who_leaves_stops_the_agent(serve: Serve) -> None:
    served = await serve(agent := Waits())
    task = asyncio.create_task(invoke(served, "it"))
    await wait_until(lambda: agent.payloads)
    task.cancel()
    await wait_until(lambda: agent.stopped == ["it"])
    await wait_until(lambda: not served.service.runs._in_flight)


async def test_outcome_that_nobody_writes_has_a_bound(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.web.stored_invocation.STOP_SECONDS", 0.0)
    monkeypatch.setattr("dockrion.web.stored_invocation._STORE_SECONDS", 0.1)
    served = await serve(agent := Waits())
    run_id = await served.start()
    run = await served.backend.get(run_id)
    with pytest.raises(DockrionError, match="time limit") as raised:
        await stored_outcome(served.service, RunRef(run_id, run.incarnation), 0.1)
    assert raised.value.status == 504
    agent.go.set()


async def test_outcome_that_is_lost_is_unavailable(serve: Serve) -> None:
    served = await serve()
    with pytest.raises(DockrionError, match="lost") as raised:
        await stored_outcome(served.service, RunRef("unknown", None), 5)
    assert raised.value.status == 503


async def test_drain_ends_the_wait(serve: Serve) -> None:
    served = await serve(Waits())
    run_id = await served.start()
    waiting = asyncio.create_task(outcome_of(stored_outcome(served.service, RunRef(run_id, None), None)))
    await wait_until(lambda: served.service.invocations._deadlines)
    served.service.runs.draining = True
    await served.service.invocations.end(0)
    assert (await waiting)[2] == "SERVICE_UNAVAILABLE"


ROUTES = [
    ("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/events?from_sequence=2"), ("GET", "/ws"),
    ("POST", "/input"), ("POST", "/events"), ("GET", "/input/q1"),
]  # fmt: skip


@pytest.mark.usefixtures("every_backend")
async def test_nobody_else_knows_of_an_unlisted_run(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose={"streaming": "websocket"}, streaming={"ingest": INGEST})
    run_id = ids.uuid7()
    task = asyncio.create_task(
        invoke_stored(served.service, Call({}), run_id, ids.new_incarnation(), TIMEOUT_SECONDS)
    )
    await wait_until(lambda: agent.payloads)
    for finished in (False, True):
        for method, path in ROUTES:
            if path == "/ws":
                async with served.client.ws_connect(f"/runs/{run_id}/ws") as socket:
                    assert (await socket.receive_json())["code"] == "NOT_FOUND"
                continue
            body = {"request_id": "q1", "value": 1, "type": "token", "content": "x"}
            sent = body if method == "POST" else None
            async with served.client.request(method, f"/runs/{run_id}{path}", json=sent) as response:
                assert response.status == 404, (method, path, finished)
        async with served.client.post(f"/runs?run_id={run_id}", json={}) as response:
            assert response.status == 409
            assert "details" not in await response.json()
        async with served.client.get("/runs") as response:
            assert (await response.json())["items"] == []
        agent.go.set()
        await task
