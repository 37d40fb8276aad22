"""Misbehaving agents, which must not affect the service."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, data, sequences, wait_until
from tests.web.helpers import BlockedAgent, error_of

TOKENS = 20_000
KEEP_ALL = {"redis": {"max_events_per_run": 100_000}}


async def healthy(served: Served) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS), served.client.get("/health") as response:
        assert response.status == 200


async def exits_async(_payload: Any) -> None:
    raise SystemExit(3)


def exits_sync(_payload: Any) -> None:
    raise SystemExit(3)


async def exits_in_a_generator(_payload: Any) -> Any:
    yield "text"
    raise SystemExit(3)


def interrupts(_payload: Any) -> None:
    raise KeyboardInterrupt


async def cancels_itself(_payload: Any) -> None:
    raise asyncio.CancelledError


def stops_iterating(_payload: Any) -> None:
    raise StopIteration("no more")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


def raises_what_has_no_message(_payload: Any) -> None:
    raise UnprintableError


@pytest.mark.parametrize(
    "agent",
    [
        exits_async,
        exits_sync,
        exits_in_a_generator,
        interrupts,
        cancels_itself,
        stops_iterating,
        raises_what_has_no_message,
    ],
)
async def test_any_exception_fails_its_run_only(serve: Serve, agent: Callable[[Any], Any]) -> None:
    served = await serve(agent)
    async with served.stream() as reader:
        last = data((await reader.all())[-1])
    assert (last["type"], last["code"]) == ("error", "AGENT_EXECUTION_ERROR")
    async with served.client.post("/invoke", json={}) as response:
        await error_of(response, 500, "AGENT_EXECUTION_ERROR")
    await healthy(served)


async def test_agent_that_exits_is_named_in_the_error(serve: Serve) -> None:
    served = await serve(exits_async)
    record = await served.finished(await served.start())
    assert record["error"]["error"] == "SystemExit: 3"
    assert record["error"]["details"] == {"type": "SystemExit"}


async def emits_async(_payload: Any, context: StreamContext) -> int:
    for number in range(TOKENS):
        await context.emit_token(str(number))
    return TOKENS


def emits_sync(_payload: Any, context: StreamContext) -> int:
    for number in range(TOKENS):
        context.sync_emit_token(str(number))
    return TOKENS


async def emits_sync_on_the_loop(_payload: Any, context: StreamContext) -> int:
    return emits_sync(_payload, context)


def yields_sync(_payload: Any) -> Any:
    for number in range(TOKENS):
        yield str(number)


async def yields_async(_payload: Any) -> Any:
    for number in range(TOKENS):
        yield str(number)


@pytest.mark.parametrize(
    "agent", [emits_async, emits_sync, emits_sync_on_the_loop, yields_sync, yields_async]
)
async def test_tokens_from_a_tight_loop_arrive_and_delay_nothing_else(
    serve: Serve, agent: Callable[..., Any]
) -> None:
    served = await serve(agent, streaming=KEEP_ALL)
    async with served.stream() as reader:
        reading = asyncio.create_task(reader.all())
        while not reading.done():
            await healthy(served)
        messages = await reading
    assert sequences(messages) == list(range(1, TOKENS + 3))
    assert [data(m)["content"] for m in messages if m.event == "token"] == [str(n) for n in range(TOKENS)]


class Endless:
    """An agent that emits without a pause until another request was served, or it has taken too long."""

    def __init__(self) -> None:
        self.working = asyncio.Event()
        self.served = False
        self.starved = False

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        self.working.set()
        late = time.thread_time() + 3  # of the event loop at work, which a busy machine interrupts
        while not self.served:
            await context.emit_token("text")
            if time.thread_time() > late:
                self.starved = True
                return


@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_endless_emitting_does_not_starve_other_requests(serve: Serve, allowed: str) -> None:
    served = await serve(agent := Endless(), streaming={"events": {"allowed": allowed}})
    run_id = await served.start()
    await agent.working.wait()
    await healthy(served)
    agent.served = True
    await served.finished(run_id)
    assert not agent.starved


async def test_endless_emitting_in_an_invoke_does_not_starve_other_requests(serve: Serve) -> None:
    served = await serve(agent := Endless())
    pending = asyncio.create_task(served.client.post("/invoke", json={}))
    await agent.working.wait()
    await healthy(served)
    agent.served = True
    (await pending).release()
    assert not agent.starved


@pytest.mark.parametrize("path", ["/runs", "/invoke/stream", "/invoke"])
async def test_sync_agent_does_not_block_other_requests(serve: Serve, path: str, stuck: BlockedAgent) -> None:
    served = await serve(stuck)
    pending = asyncio.create_task(served.client.post(path, json={}))
    await wait_until(stuck.working.is_set)
    await healthy(served)
    stuck.go.set()
    async with await pending as response:
        await response.read()
    await wait_until(stuck.ended.is_set)


async def test_agent_that_never_returns_does_not_block_other_requests(
    serve: Serve, stuck: BlockedAgent
) -> None:
    served = await serve(stuck)
    run_id = await served.start()
    await wait_until(stuck.working.is_set)
    await healthy(served)
    async with served.events(run_id) as reader:
        await reader.until("token")
    assert (await served.record(run_id))["status"] == "running"
    stuck.go.set()
    assert (await served.finished(run_id))["status"] == "completed"


async def test_agent_that_never_returns_does_not_delay_shutdown(
    serve: Serve, stuck: BlockedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.runs.execution.STOP_SECONDS", 0.1)
    served = await serve(stuck)
    await served.start(run_id="r")
    await wait_until(stuck.working.is_set)
    async with asyncio.timeout(TIMEOUT_SECONDS), served.events("r") as reader:
        await served.service.drain(0.05)
        last = data((await reader.all())[-1])
    assert last["code"] == "SHUTDOWN"
    stuck.go.set()
    await wait_until(stuck.stopped.is_set)


async def test_failing_runs_do_not_affect_others(serve: Serve) -> None:
    async def agent(payload: int) -> int:
        await asyncio.sleep(0)
        if payload % 2:
            raise SystemExit(payload)
        return payload

    served = await serve(agent)
    runs = [await served.start(number) for number in range(20)]
    statuses = [(await served.finished(run_id))["status"] for run_id in runs]
    assert statuses == ["completed", "failed"] * 10


async def test_events_of_a_sync_agent_arrive_in_real_time(serve: Serve, stuck: BlockedAgent) -> None:
    served = await serve(stuck)
    async with served.stream() as reader:
        await reader.until("token")
        assert not stuck.ended.is_set()
        stuck.go.set()
        assert (await reader.all())[-1].event == "complete"
