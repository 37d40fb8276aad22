"""Whoever leaves closes the connection, and leaves no run and no task behind."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from dockrion.client import Client, ConnectionLost, Token
from tests.client.conftest import Connect
from tests.client.proxies import HEAD, scripted
from tests.conftest import Serve
from tests.load.faulty_services import serving
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import Waits, gauge


async def until_nobody_reads(served: Served) -> None:
    await wait_until(lambda: gauge(served.service.metrics.open_streams) == 0)


async def test_to_break_out_of_a_stream_is_to_cancel_its_run(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    stream = client.stream({})
    async for event in stream:
        if isinstance(event, Token):
            break
    await until_nobody_reads(served)
    await wait_until(lambda: agent.stopped)
    record = await served.finished(stream.run_id)
    assert (record["status"], client._transport.streams) == ("cancelled", set())


async def test_so_is_to_raise_inside_and_to_close_the_client(serve: Serve) -> None:
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
    await until_nobody_reads(served)


async def test_so_is_to_cancel_who_reads(serve: Serve, connect: Connect) -> None:
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
    await until_nobody_reads(served)


async def test_to_leave_a_run_that_others_may_watch_leaves_it_alone(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    run = await client.start({})
    async for event in client.events(run.run_id):
        if isinstance(event, Token):
            break
    await until_nobody_reads(served)
    agent.go.set()
    assert (await served.finished(run.run_id))["status"] == "completed"


async def test_without_resuming_the_service_cancels_by_itself(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits(), streaming={"async_runs": False})
    client = await connect(served)
    async for event in client.stream({}, resume=False):
        if isinstance(event, Token):
            break
    await wait_until(lambda: agent.stopped)


async def test_a_client_that_is_closed_ends_those_who_still_read(serve: Serve) -> None:
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


async def test_a_cancel_that_nobody_answers_does_not_hold_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.client.transport._CLOSE_TIMEOUT", 0.01)
    asked = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Run-Id": "r"})
        await response.prepare(request)
        await response.write(
            HEAD.partition(b"\r\n\r\n")[2] + b'event: gap\ndata: {"requested":1,"first_available":3}\n\n'
        )
        await asyncio.Event().wait()
        return response

    async def never(_request: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/invoke/stream", stream)
    app.router.add_delete("/runs/r", never)
    async with serving(app) as url, Client(url) as client:
        async for _ in client.stream({}):
            break
        await asked.wait()


async def test_a_run_is_not_forgotten_whose_name_comes_after_its_caller_left() -> None:
    asked, answers, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        asked.set()
        await answers.wait()
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
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        answers.set()
        await asyncio.wait_for(cancelled.wait(), TIMEOUT_SECONDS)


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
