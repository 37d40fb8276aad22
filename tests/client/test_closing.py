"""Leaving a stream closes its connection, cancels the run that it started, and leaves no task behind."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from dockrion.client import Client, ConnectionLost, Token
from dockrion.client.stream import _TRANSITIONS, _Input, _State
from tests.client.conftest import Connect
from tests.client.proxies import HEAD, scripted
from tests.conftest import Serve
from tests.load.faulty_services import serving
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import Waits, gauge


async def until_no_streams_are_open(served: Served) -> None:
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)


async def test_breaking_out_of_a_stream_cancels_its_run(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    stream = client.stream({})
    async for event in stream:
        if isinstance(event, Token):
            break
    await until_no_streams_are_open(served)
    await wait_until(lambda: agent.stopped)
    record = await served.finished(stream.run_id)
    assert (record["status"], client._transport.streams) == ("cancelled", set())


async def test_an_exception_in_the_loop_cancels_the_run(serve: Serve) -> None:
    served = await serve(agent := Waits())

    async def read() -> None:
        async with Client(f"http://127.0.0.1:{served.port}") as client:
            async for event in client.stream({}):
                if isinstance(event, Token):
                    raise ZeroDivisionError(event.run_id)

    with pytest.raises(ZeroDivisionError) as raised:
        await read()
    assert agent.stopped
    assert (await served.record(str(raised.value)))["status"] == "cancelled"
    await until_no_streams_are_open(served)


async def test_cancelling_the_reading_task_cancels_the_run(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    reading = asyncio.Event()

    async def read() -> None:
        async for event in client.stream({}):
            if isinstance(event, Token):
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await wait_until(lambda: agent.stopped)
    await until_no_streams_are_open(served)


async def test_leaving_the_events_of_a_run_does_not_cancel_it(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    run = await client.start({})
    async for event in client.events(run.run_id):
        if isinstance(event, Token):
            break
    await until_no_streams_are_open(served)
    agent.go.set()
    assert (await served.finished(run.run_id))["status"] == "completed"


async def test_without_resume_the_service_cancels_the_run(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits(), streaming={"async_runs": False})
    client = await connect(served)
    async for event in client.stream({}, resume=False):
        if isinstance(event, Token):
            break
    await wait_until(lambda: agent.stopped)


async def test_closing_the_client_ends_its_streams(serve: Serve) -> None:
    served = await serve(agent := Waits())
    reading = asyncio.Event()

    async def read(client: Client) -> None:
        async for event in client.stream({}):
            if isinstance(event, Token):
                reading.set()

    async with Client(f"http://127.0.0.1:{served.port}") as client:
        task = asyncio.create_task(read(client))
        await reading.wait()
    with pytest.raises(ConnectionLost):
        await task
    assert agent.stopped


async def test_a_cancel_without_a_response_does_not_block_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.client.transport._CLOSE_TIMEOUT", 0.01)
    requested = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Run-Id": "r"})
        await response.prepare(request)
        await response.write(
            HEAD.partition(b"\r\n\r\n")[2] + b'event: gap\ndata: {"requested":1,"first_available":3}\n\n'
        )
        await asyncio.Event().wait()
        return response

    async def never(_request: web.Request) -> web.Response:
        requested.set()
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/invoke/stream", stream)
    app.router.add_delete("/runs/r", never)
    async with serving(app) as url, Client(url) as client:
        async for _ in client.stream({}):
            break
        await requested.wait()


async def test_a_run_whose_id_arrives_after_its_caller_left_is_cancelled() -> None:
    requested, respond, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        requested.set()
        await respond.wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Run-Id": "r"})
        await response.prepare(request)
        return response

    async def cancel(_request: web.Request) -> web.Response:
        cancelled.set()
        return web.json_response({"run_id": "r", "status": "cancelled"})

    async def read(client: Client) -> None:
        async for _ in client.stream({}):
            pass

    app = web.Application()
    app.router.add_post("/invoke/stream", stream)
    app.router.add_delete("/runs/r", cancel)
    async with serving(app) as url, Client(url) as client:
        task = asyncio.create_task(read(client))
        await requested.wait()
        task.cancel()
        await asyncio.wait([task])
        respond.set()
        await asyncio.wait_for(cancelled.wait(), TIMEOUT_SECONDS)


async def test_closing_the_client_between_two_events_ends_the_stream() -> None:
    async with scripted(HEAD + b'event: gap\ndata: {"requested":1,"first_available":3}\n\n' * 2) as server:
        async with Client(server.url) as client:
            stream = aiter(client.events("r"))
            await anext(stream)
        with pytest.raises(ConnectionLost, match="the client was closed"):
            await anext(stream)


async def test_a_stream_closed_while_it_opens_ends_if_there_are_no_events() -> None:
    requested, respond = asyncio.Event(), asyncio.Event()

    async def no_events(_request: web.Request) -> web.Response:
        requested.set()
        await respond.wait()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_get("/runs/r/events", no_events)
    async with serving(app) as url, Client(url) as client:
        stream = client.events("r", after=3)
        reading = asyncio.create_task(anext(aiter(stream)))
        await requested.wait()
        stream.close()
        respond.set()
        with pytest.raises(StopAsyncIteration):
            await reading


def test_a_stream_in_any_state_can_be_closed() -> None:
    assert set(_TRANSITIONS) == set(_State)
    assert all(_Input.CLOSE in transitions for transitions in _TRANSITIONS.values())


async def test_a_stream_is_read_once(connect: Connect) -> None:
    async with scripted(HEAD) as server:
        client = await connect(server.url, retry_timeout=0)
        stream = client.events("r")
        with pytest.raises(ConnectionLost):
            await anext(aiter(stream))
        with pytest.raises(RuntimeError, match="read once"):
            await anext(aiter(stream))


async def test_a_client_is_used_inside_its_block() -> None:
    client = Client("http://127.0.0.1:1")
    uses: list[Any] = [
        client.invoke({}),
        client.get("r"),
        anext(aiter(client.stream({}))),
        anext(client.runs()),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="async with"):
            await use
    async with client:
        with pytest.raises(RuntimeError, match="in use already"):
            await client.__aenter__()
