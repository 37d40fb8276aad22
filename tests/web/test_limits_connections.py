"""Limits of connections: request size, idle time, and number per caller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec
import pytest

from dockrion.web.aiohttp_internals import connection_factory
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits, error_of
from tests.web.wire import Wire, connections, wire

GET = b"GET /health HTTP/1.1\r\nHost: tested\r\n\r\n"
HALVES = [
    b"",
    b"GE",
    b"GET /health HTTP/1.1\r\nHost: te",
    b"GET /health HTTP/1.1\r\nHost: tested\r\nX-A: 1\r\n",
]


async def refused(served: Served, request: bytes) -> str:
    """Send bytes that are refused before they become a request, and return the error."""
    async with wire(served) as connection:
        await connection.send(request)
        status, headers = await connection.head()
        body = msgspec.json.decode(await connection.content(headers))
        assert await connection.rest() == b""
    assert " 400 " in status
    assert headers["server"] == "dockrion"
    assert headers["content-type"] == "application/json"
    assert body.keys() == {"success", "error", "code"}
    assert body["code"] == "VALIDATION_ERROR"
    return str(body["error"])


async def answered(connection: Wire, request: bytes) -> None:
    await connection.send(request)
    status, headers = await connection.head()
    assert " 200 " in status
    await connection.content(headers)


def path_of(size: int) -> bytes:
    return GET.replace(b"/health", b"/health?".ljust(size, b"a"))


def header_of(size: int) -> bytes:
    line = b"Last-Event-ID: " + b"1" * (size - len("Last-Event-ID"))
    return GET.replace(b"Host: tested", b"Host: tested\r\n" + line)


async def test_path_length_is_limited_exactly(serve: Serve) -> None:
    served = await serve(limits={"max_query_bytes": 1024})
    async with wire(served) as connection:
        await answered(connection, path_of(1023))
        await answered(connection, path_of(1024))
    for size in (1025, 5_000):
        assert "at most 1024" in await refused(served, path_of(size))


async def test_header_length_is_limited(serve: Serve) -> None:
    served = await serve(limits={"max_header_bytes": 1024})
    async with wire(served) as connection:
        await answered(connection, header_of(1023))
        await answered(connection, header_of(1024))
    for size in (1025 + len("Last-Event-ID"), 5_000):
        assert "at most 1024" in await refused(served, header_of(size))


@pytest.mark.parametrize("beginning", [b"GET /", GET[:-2] + b"X-A: "])
async def test_endless_line_is_refused(serve: Serve, beginning: bytes) -> None:
    served = await serve(limits={"max_query_bytes": 1024, "max_header_bytes": 1024})
    assert "at most 1024" in await refused(served, beginning + b"a" * 2048)


async def test_more_than_128_headers_are_refused(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as connection:
        await answered(connection, GET[:-2] + b"X-A: 1\r\n" * 127 + b"\r\n")
    await refused(served, GET[:-2] + b"X-A: 1\r\n" * 128 + b"\r\n")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n"]
)
async def test_malformed_http_gets_a_json_error(serve: Serve, garbage: bytes) -> None:
    assert "HTTP/1.1" in await refused(await serve(), garbage)


@pytest.mark.parametrize("first", [b"", GET], ids=["new", "kept alive"])
async def test_incomplete_request_is_closed_when_idle(serve: Serve, first: bytes) -> None:
    served = await serve(limits={"idle_timeout": 1})
    silent = [_closed(served, first, half, trickled=b"") for half in HALVES]
    trickled = [_closed(served, first, half, trickled=b"a") for half in HALVES[2:]]
    assert set(await asyncio.gather(*silent, *trickled)) == {b""}


async def _closed(served: Served, first: bytes, half: bytes, *, trickled: bytes) -> bytes:
    """Send a part of a request, then more byte by byte, and return what is received before the close."""
    async with wire(served) as connection:
        if first:
            await answered(connection, first)
        await connection.send(half)
        closed = asyncio.create_task(connection.rest())
        while not closed.done():
            connection.writer.write(trickled)
            await asyncio.wait((closed,), timeout=0.02)
        with suppress(ConnectionError):  # the connection was closed before the last bytes
            return await closed
        return b""


async def test_open_streams_and_requests_are_not_idle(serve: Serve) -> None:
    served = await serve(agent := Waits(), limits={"idle_timeout": 1})
    async with wire(served) as stream, wire(served) as invoked, wire(served) as idle:
        await stream.ask("POST", "/invoke/stream", body=b"{}")
        await invoked.ask("POST", "/invoke", body=b"{}")
        await wait_until(lambda: len(agent.payloads) == 2)
        assert await idle.rest() == b""
        agent.go.set()
        await stream.head()
        assert b"event: complete" in await stream.body()
        await answered(invoked, b"")


async def test_idle_time_starts_with_the_last_response(serve: Serve) -> None:
    served = await serve(agent := Waits(), limits={"idle_timeout": 1})
    async with wire(served) as used, wire(served) as idle:
        await used.ask("POST", "/invoke", body=b"{}")
        assert await idle.rest() == b""
        agent.go.set()
        await answered(used, b"")
        await answered(used, GET)
        assert await used.rest() == b""
    await wait_until(lambda: not connections(served))


async def test_concurrent_requests_of_a_caller_are_limited(serve: Serve) -> None:
    served = await serve(agent := Waits(), limits={"max_connections_per_caller": 2})
    pending = asyncio.create_task(served.client.post("/invoke", json={}))
    await wait_until(lambda: agent.payloads)
    async with served.stream() as reader:
        await reader.until("token")
        for method, path in [
            ("POST", "/invoke"),
            ("POST", "/invoke/stream"),
            ("POST", "/runs"),
            ("GET", "/runs"),
            ("GET", f"/runs/{reader.run_id}/events"),
            ("GET", "/nothing"),
        ]:
            async with served.client.request(method, path) as response:
                await error_of(response, 429, "TOO_MANY_CONNECTIONS")
                assert int(response.headers["Retry-After"]) > 0
        for path in ("/health", "/ready"):
            async with served.client.get(path) as response:
                assert response.status == 200
        agent.go.set()
        await reader.all()
    async with await pending as response, served.client.get("/runs") as other:
        assert (response.status, other.status) == (200, 200)
    await wait_until(lambda: not served.service.connection_limiter._open)


async def test_disconnected_caller_is_not_counted(serve: Serve) -> None:
    served = await serve(Waits(), limits={"max_connections_per_caller": 1})
    async with served.stream() as reader:
        await reader.until("token")
    await wait_until(lambda: not served.service.connection_limiter._open)
    async with served.client.get("/runs") as response:
        assert response.status == 200


async def test_callers_are_counted_separately(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY_ONE=one\nKEY_OTHER=other\nKEY_THIRD=third\n")
    served = await serve(
        Waits(), auth={"api_keys": {"prefix": "KEY_"}}, limits={"max_connections_per_caller": 1}
    )
    async with AsyncExitStack() as streams:
        for caller in ("one", "other"):
            pending = served.client.post("/invoke/stream", json={}, headers={"X-API-Key": caller})
            assert (await streams.enter_async_context(pending)).status == 200
        for caller, status in {"one": 429, "other": 429, "third": 200}.items():
            async with served.client.get("/runs", headers={"X-API-Key": caller}) as response:
                assert response.status == status


async def test_callers_on_a_unix_socket_count_as_one(serve: Serve, tmp_path: Path) -> None:
    served = await serve(Waits(), limits={"max_connections_per_caller": 1})
    async with (
        _unix(served, tmp_path / "s") as session,
        session.post("http://tested/invoke/stream", json={}) as stream,
    ):
        assert stream.status == 200
        async with session.get("http://tested/runs") as response, served.client.get("/runs") as other:
            await error_of(response, 429, "TOO_MANY_CONNECTIONS")
            assert other.status == 200


@asynccontextmanager
async def _unix(served: Served, path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    service = served.service
    protocol = connection_factory(
        served.client.server.handler, service.dockfile.limits, service.write_seconds
    )
    listening = await asyncio.get_running_loop().create_unix_server(protocol, path)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        yield session
    listening.close()
