"""Finished runs leave nothing in memory."""

import asyncio
import contextlib
import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dockrion import InputTimeout, StreamContext
from dockrion.backends.memory import MemoryBackend
from dockrion.errors import DockrionError
from tests.agents.harness import Bench, bench, spin
from tests.support import wait_until


@pytest.fixture
def without_collector(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Free only what nothing refers to: the service's collections are far apart, and payloads large."""
    caplog.set_level("CRITICAL")  # pytest keeps records with their tracebacks
    gc.disable()
    yield
    gc.enable()


class Payload(dict[str, Any]):
    """A payload of which can be seen when it is freed."""


def raises(payload: Any) -> Any:
    raise ValueError(payload)


async def raises_async(payload: Any) -> Any:
    raise ValueError(payload)


def raises_with_cause(payload: Any) -> Any:
    try:
        raises(payload)
    except ValueError as error:
        raise RuntimeError from error


async def raises_with_context(payload: Any) -> Any:
    try:
        await raises_async(payload)
    finally:
        raises(payload)


async def raises_a_group(payload: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        group.create_task(raises_async(payload))
        group.create_task(raises_async(payload))


async def raises_in_a_thread(payload: Any) -> Any:
    await asyncio.to_thread(raises, payload)


def yields_and_raises(payload: Any) -> Iterator[str]:
    yield "word"
    raises(payload)


def returns_no_json(payload: Any) -> Any:
    return {"payload": payload, "lock": threading.Lock()}


FAILING = [
    raises,
    raises_async,
    raises_with_cause,
    raises_with_context,
    raises_a_group,
    raises_in_a_thread,
    yields_and_raises,
    returns_no_json,
]


@pytest.mark.parametrize("agent", FAILING)
@pytest.mark.usefixtures("without_collector")
async def test_the_payload_of_a_failed_run_is_freed_at_once(agent: Callable[..., Any]) -> None:
    async with bench(agent) as made:
        payload = Payload()
        freed = weakref.ref(payload)
        run_id = await made.start(payload)
        del payload
        assert (await made.ended(run_id)).error
        await wait_until(lambda: freed() is None)


@pytest.mark.parametrize("agent", FAILING)
@pytest.mark.usefixtures("without_collector")
async def test_the_payload_of_a_failed_invocation_is_freed_at_once(agent: Callable[..., Any]) -> None:
    async with bench(agent) as made:
        payload = Payload()
        freed = weakref.ref(payload)
        with pytest.raises(DockrionError):
            await made.invoke(payload)
        del payload
        await wait_until(lambda: freed() is None)


def spins(_payload: Any, context: StreamContext) -> Any:
    context.sync_emit_token("word")
    spin(context)
    context.raise_if_cancelled()


async def waits(_payload: Any, context: StreamContext) -> Any:
    await context.emit_token("word")
    await asyncio.Event().wait()


async def asks(_payload: Any, context: StreamContext) -> Any:
    with contextlib.suppress(InputTimeout):
        await context.ask("word?", timeout=0.001)
    await context.ask("word?", {"type": "string"})


def asks_in_a_thread(payload: Any, context: StreamContext) -> Any:
    with contextlib.suppress(InputTimeout):
        context.sync_ask("word?", timeout=0.001)
    context.sync_ask("word?")
    return payload


@pytest.mark.parametrize("agent", [asks, asks_in_a_thread])
@pytest.mark.usefixtures("without_collector")
async def test_the_payload_of_a_run_that_asked_is_freed_at_once(agent: Callable[..., Any]) -> None:
    async with bench(agent) as made:
        payload = Payload()
        freed = weakref.ref(payload)
        run_id = await made.start(payload)
        del payload
        await made.emitted(run_id, 3)
        run = made.runs.find(run_id)
        assert run is not None
        assert run.session is not None
        questions = run.session.asking.questions
        assert questions is not None
        (request_id,), asked = questions._open, weakref.ref(questions)
        await run.session.answer(request_id, "x", None)
        del run, questions
        assert (await made.ended(run_id)).run.status == "completed"
        await wait_until(lambda: freed() is None and asked() is None)


@pytest.mark.parametrize("agent", [spins, waits, asks, asks_in_a_thread])
@pytest.mark.usefixtures("without_collector")
async def test_the_payload_of_a_cancelled_run_is_freed_at_once(agent: Callable[..., Any]) -> None:
    async with bench(agent) as made:
        payload = Payload()
        freed = weakref.ref(payload)
        run_id = await made.start(payload)
        del payload
        await made.emitted(run_id, 2)
        await made.runs.cancel(run_id, None)
        await wait_until(lambda: freed() is None)


async def test_a_thousand_runs_leave_memory_flat() -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        for _ in range(5):
            await context.emit_token("x" * 100)
        return payload

    async def work(made: Bench, runs: int) -> int:
        for number in range(runs):
            await made.start({"n": number})
            if not number % 50:
                await wait_until(lambda: not made.runs._in_flight)
        await wait_until(lambda: not made.runs._in_flight._ending)
        await wait_until(lambda: not backend._logs)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    backend = MemoryBackend(max_events=100, ttl=0)
    tracemalloc.start()
    try:
        async with bench(agent, backend=backend, queue=1000) as made:
            before = await work(made, 300)
            assert await work(made, 1000) - before < 33_000
    finally:
        tracemalloc.stop()
