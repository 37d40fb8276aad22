"""The HTTP client: what it relies on in aiohttp's connector, and what may be logged of its errors."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dockrion.http_client import HttpEndpoint, loggable
from tests.support import TIMEOUT_SECONDS, wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize(
    ("unsolicited", "connections"), [(b"", 1), (OK + b"no", 2)], ids=["clean", "unsolicited"]
)
async def test_connections_with_unsolicited_bytes_are_not_reused(
    tmp_path: Path, transport: str, unsolicited: bytes, connections: int
) -> None:
    accepted = 0
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK + b"ok")
                await released.wait()
                writer.write(unsolicited)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    path = tmp_path / "s"
    if transport == "tcp":
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    else:
        server = await asyncio.start_unix_server(serve, path)
        url = f"unix:{path}:/"
    endpoint = HttpEndpoint(url, TIMEOUT_SECONDS)
    for _ in range(2):
        async with endpoint.request("GET") as response:
            assert await response.read() == b"ok"
        released.set()
        if unsolicited:
            await wait_until(lambda: all(each.should_close for each in idle(endpoint)))
    assert accepted == connections
    await endpoint.aclose()
    server.close()


def idle(endpoint: HttpEndpoint) -> list[Any]:
    """Return the connections that wait for a request."""
    connector: Any = endpoint._session.connector
    return [protocol for pool in connector._conns.values() for protocol, _ in pool]


async def test_what_may_be_logged_of_an_error_has_no_header_of_the_request() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 2x0 what\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    endpoint = HttpEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", TIMEOUT_SECONDS)
    try:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await endpoint.request("GET", headers={"Authorization": "Basic a-key"})
    finally:
        await endpoint.aclose()
        server.close()
    assert "a-key" in repr(caught.value)  # else `loggable` is not needed
    assert "Bad status line" in loggable(caught.value)
    assert "a-key" not in loggable(caught.value)
    assert loggable(OSError("gone")) == "OSError('gone')"
