"""Clients that disconnect: whether the agent stops, and that nothing leaks."""

import asyncio
from typing import Any

import pytest

from dockrion.backends.run_log import Run
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import BlockedAgent, Waits, gauge
from tests.web.wire import Wire, connections, wire

LEAVING = ["closed", "reset"]
CONTINUE = {"connection": {"on_disconnect": "continue"}}


def leave(connection: Wire, how: str) -> None:
    if how == "reset":
        connection.reset()
    else:
        connection.writer.close()


async def open_stream(connection: Wire, path: str = "/invoke/stream") -> str:
    """Invoke the agent (pattern A), read up to its first token, and return the run's id."""
    await connection.ask("POST", path, body=b"{}")
    _, headers = await connection.head()
    await connection.until(b'"content":"first"')
    return headers["x-run-id"]


async def wait_without_readers(served: Served, run_id: str) -> None:
    log = served.backend._logs[run_id]
    await wait_until(lambda: not log.watches and not log.subscribers)
    await wait_until(lambda: not served.service.streams._deadlines)


@pytest.mark.parametrize("how", LEAVING)
async def test_disconnected_caller_of_a_stream_stops_the_agent(serve: Serve, how: str) -> None:
    served = await serve(agent := Waits())
    async with wire(served) as connection:
        run_id = await open_stream(connection)
        leave(connection, how)
        await wait_until(lambda: agent.stopped)
    record = await served.finished(run_id)
    assert record["status"] == "cancelled"
    assert record["metadata"]["reason"] == "the caller disconnected"
    await wait_without_readers(served, run_id)


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize(
    ("path", "streaming"),
    [("/invoke/stream?on_disconnect=continue", {}), ("/invoke/stream", CONTINUE)],
    ids=["query", "Dockfile"],
)
async def test_disconnected_caller_of_a_stream_may_let_the_agent_continue(
    serve: Serve, how: str, path: str, streaming: dict[str, Any]
) -> None:
    served = await serve(agent := Waits(), streaming=streaming)
    async with wire(served) as connection:
        run_id = await open_stream(connection, path)
        leave(connection, how)
        await wait_without_readers(served, run_id)
    agent.go.set()
    assert (await served.finished(run_id))["status"] == "completed"
    assert not agent.stopped
    async with served.events(run_id, last_event_id=2) as reader:
        assert [message.event for message in await reader.all()] == ["token", "complete"]


async def test_on_disconnect_in_the_query_overrides_the_dockfile(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=CONTINUE)
    async with wire(served) as connection:
        run_id = await open_stream(connection, "/invoke/stream?on_disconnect=cancel")
        connection.reset()
        await wait_until(lambda: agent.stopped)
    assert (await served.finished(run_id))["status"] == "cancelled"


async def test_other_readers_get_the_cancelled_event(serve: Serve) -> None:
    served = await serve(Waits())
    async with wire(served) as connection:
        run_id = await open_stream(connection)
        async with served.events(run_id) as reader:
            connection.reset()
            assert [message.event for message in await reader.all()] == ["started", "token", "cancelled"]


async def test_caller_who_disconnects_while_queued_starts_nothing(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    first = await served.start({"n": 1})
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", body=b'{"n": 2}')
        _, headers = await connection.head()
        connection.reset()
        assert (await served.finished(headers["x-run-id"]))["status"] == "cancelled"
    agent.go.set()
    assert (await served.finished(first))["status"] == "completed"
    assert agent.payloads == [{"n": 1}]


async def test_caller_who_disconnects_before_the_run_is_stored_stops_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(agent := Waits())
    storing, stored = asyncio.Event(), asyncio.Event()
    create = served.backend.create

    async def slow(run: Run, job: bytes | None = None) -> None:
        storing.set()
        await stored.wait()
        await create(run, job)

    monkeypatch.setattr(served.backend, "create", slow)
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", body=b"{}")
        await wait_until(storing.is_set)
        connection.reset()
        await wait_until(lambda: not connections(served))
        stored.set()
        await wait_until(lambda: served.backend._logs)
        (run_id,) = served.backend._logs
        assert (await served.finished(run_id))["status"] == "cancelled"
    assert len(agent.stopped) == len(agent.payloads)


async def test_sync_agent_stops_at_its_next_emit_after_a_disconnect(
    serve: Serve, stuck: BlockedAgent
) -> None:
    served = await serve(stuck)
    async with wire(served) as connection:
        run_id = await open_stream(connection)
        connection.reset()
        await wait_until(lambda: served.service.runs._in_flight._by_id[run_id].stop)
        stuck.go.set()
        await wait_until(stuck.stopped.is_set)
    assert (await served.finished(run_id))["status"] == "cancelled"


@pytest.mark.parametrize("how", LEAVING)
async def test_disconnected_caller_of_invoke_stops_the_agent(serve: Serve, how: str) -> None:
    served = await serve(agent := Waits())
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke", body=b"{}")
        await wait_until(lambda: agent.payloads)
        leave(connection, how)
        await wait_until(lambda: agent.stopped)


@pytest.mark.parametrize("how", LEAVING)
async def test_disconnected_reader_of_a_run_stops_nothing(serve: Serve, how: str) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events")
        await connection.until(b'"content":"first"')
        leave(connection, how)
        await wait_without_readers(served, "r")
    assert (await served.record("r"))["status"] == "running"
    agent.go.set()
    assert (await served.finished("r"))["status"] == "completed"


async def test_disconnected_subscriber_no_longer_counts(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"connection": {"max_subscribers_per_run": 1}})
    await served.start(run_id="r")
    for _ in range(5):
        async with wire(served) as connection:
            await connection.ask("GET", "/runs/r/events")
            await connection.until(b'"content":"first"')
            connection.reset()
            await wait_without_readers(served, "r")
    agent.go.set()
    async with served.events("r") as reader:
        assert (await reader.all())[-1].event == "complete"


async def test_disconnect_does_not_revoke_a_cancel(serve: Serve, stuck: BlockedAgent) -> None:
    served = await serve(stuck)
    await served.start(run_id="r")
    await wait_until(stuck.working.is_set)
    async with wire(served) as connection:
        await connection.ask("DELETE", "/runs/r")
        await wait_until(lambda: served.service.runs._in_flight._by_id["r"].stop)
        connection.reset()
    stuck.go.set()
    assert (await served.finished("r"))["status"] == "cancelled"


async def test_gauges_return_to_zero_after_all_disconnect(serve: Serve) -> None:
    served = await serve(Waits())
    async with wire(served) as connection:
        await open_stream(connection)
        connection.reset()
    metrics = served.service.metrics
    gauges = (metrics.requests.active, metrics.requests.open_streams, metrics.runs.active)
    await wait_until(lambda: [gauge(each) for each in gauges] == [0, 0, 0])
