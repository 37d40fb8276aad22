"""Cancelling with DELETE: the agent stops, then the response is sent."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, data, wait_until
from tests.web.helpers import BlockedAgent, Waits, error_of


async def cancel(served: Served, run_id: str, **query: str) -> tuple[int, dict[str, Any]]:
    async with served.client.delete(f"/runs/{run_id}", params=query) as response:
        return response.status, await response.json()


async def test_cancel_responds_once_the_agent_has_stopped(serve: Serve) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    await wait_until(lambda: agent.payloads)
    assert await cancel(served, run_id) == (200, {"run_id": run_id, "status": "cancelled"})
    assert agent.stopped
    record = await served.record(run_id)
    assert record["status"] == "cancelled"
    assert record["completed_at"] is not None
    assert (record["output"], record["error"]) == (None, None)


async def test_reason_is_in_the_event_and_the_record(serve: Serve) -> None:
    served = await serve(Waits())
    run_id = await served.start()
    await cancel(served, run_id, reason="changed my mind ✓")
    async with served.events(run_id) as reader:
        last = data((await reader.all())[-1])
    assert (last["type"], last["reason"]) == ("cancelled", "changed my mind ✓")
    assert (await served.record(run_id))["metadata"]["reason"] == "changed my mind ✓"


async def test_reason_is_null_when_there_is_none(serve: Serve) -> None:
    served = await serve(Waits())
    run_id = await served.start()
    await cancel(served, run_id)
    async with served.events(run_id) as reader:
        assert data((await reader.all())[-1])["reason"] is None


async def test_second_cancel_is_refused(serve: Serve) -> None:
    served = await serve(Waits())
    run_id = await served.start()
    assert (await cancel(served, run_id))[0] == 200
    async with served.client.delete(f"/runs/{run_id}") as response:
        await error_of(response, 400, "VALIDATION_ERROR")


async def test_concurrent_cancels_succeed_with_the_first_reason(serve: Serve, stuck: BlockedAgent) -> None:
    served = await serve(stuck)
    run_id = await served.start()
    await wait_until(stuck.working.is_set)
    first = asyncio.create_task(cancel(served, run_id, reason="first"))
    await wait_until(lambda: served.service.runs._in_flight._by_id[run_id].stop)
    others = [asyncio.create_task(cancel(served, run_id, reason=str(n))) for n in range(5)]
    await wait_until(lambda: len(served.backend._logs[run_id].watches) == 6)
    stuck.go.set()
    responses = await asyncio.gather(first, *others)
    assert [status for status, _ in responses] == [200] * 6
    async with served.events(run_id) as reader:
        messages = await reader.all()
    assert [message.event for message in messages][-1] == "cancelled"
    assert data(messages[-1])["reason"] == "first"


async def test_async_agent_may_emit_while_it_cleans_up(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            assert context.cancelled
            await context.emit_token("cleaning up")
            await asyncio.sleep(0.01)

    served = await serve(agent)
    run_id = await served.start()
    await wait_until(lambda: served.backend._logs[run_id].run.status == "running")
    assert (await cancel(served, run_id))[0] == 200
    async with served.events(run_id) as reader:
        events = [message.event for message in await reader.all()]
    assert events == ["started", "token", "cancelled"]


async def test_sync_agent_is_stopped_at_its_next_emit(serve: Serve, stuck: BlockedAgent) -> None:
    served = await serve(stuck)
    run_id = await served.start()
    await wait_until(stuck.working.is_set)
    cancelled = asyncio.create_task(cancel(served, run_id))
    await wait_until(lambda: served.service.runs._in_flight._by_id[run_id].stop)
    assert not cancelled.done()
    stuck.go.set()
    assert (await cancelled)[0] == 200
    assert stuck.stopped.is_set()
    assert not stuck.ended.is_set()


async def test_sync_generator_is_closed(serve: Serve) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def agent(_payload: Any) -> Any:
        try:
            while True:
                yield "word "
        finally:
            loop.call_soon_threadsafe(closed.set)

    served = await serve(agent)
    run_id = await served.start()
    assert (await cancel(served, run_id))[0] == 200
    await wait_until(closed.is_set)


async def test_context_cancelled_is_true_after_a_cancel(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        def work() -> None:
            while not context.cancelled:
                pass
            context.raise_if_cancelled()

        await asyncio.to_thread(work)

    served = await serve(agent)
    run_id = await served.start()
    await wait_until(lambda: served.backend._logs[run_id].run.status == "running")
    assert (await cancel(served, run_id))[0] == 200


async def test_sync_agent_that_never_stops_does_not_delay_the_cancel(
    serve: Serve, stuck: BlockedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.runs.execution.STOP_SECONDS", 0.1)
    served = await serve(stuck)
    run_id = await served.start()
    await wait_until(stuck.working.is_set)
    assert (await cancel(served, run_id))[0] == 200
    assert not stuck.stopped.is_set()
    async with served.events(run_id) as reader:
        before = await reader.all()
    stuck.go.set()
    await wait_until(stuck.stopped.is_set)
    async with served.events(run_id) as reader:
        assert await reader.all() == before
    assert [message.event for message in before] == ["started", "token", "cancelled"]


async def test_swallowed_cancellation_does_not_delay_the_cancel(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.runs.execution.STOP_SECONDS", 0.1)
    go = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> str:
        await context.emit_token("first")
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        await context.emit_token("later")
        return "too late"

    served = await serve(agent)
    run_id = await served.start()
    await wait_until(lambda: served.backend._logs[run_id].run.last_sequence == 2)
    assert (await cancel(served, run_id))[0] == 200
    go.set()
    record = await served.record(run_id)
    assert (record["status"], record["output"], record["last_sequence"]) == ("cancelled", None, 3)


async def test_exception_during_a_cancel_does_not_change_the_outcome(serve: Serve) -> None:
    async def agent(_payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("clean-up failed") from None

    served = await serve(agent)
    run_id = await served.start()
    await wait_until(lambda: served.backend._logs[run_id].run.status == "running")
    assert (await cancel(served, run_id))[0] == 200
    assert (await served.record(run_id))["status"] == "cancelled"


async def test_cancel_does_not_affect_other_runs(serve: Serve) -> None:
    served = await serve(agent := Waits())
    runs = [await served.start(n) for n in range(3)]
    await wait_until(lambda: len(agent.payloads) == 3)
    assert (await cancel(served, runs[1]))[0] == 200
    agent.go.set()
    assert [(await served.finished(r))["status"] for r in runs] == ["completed", "cancelled", "completed"]


async def test_callers_own_stream_can_be_cancelled(serve: Serve) -> None:
    served = await serve(Waits())
    async with served.stream() as reader:
        await cancel(served, reader.run_id)
        assert [message.event for message in await reader.all()][-1] == "cancelled"
