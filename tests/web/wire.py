"""Connections as bytes: what a client sends and gets, with nothing in between."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from tests.support import TIMEOUT_SECONDS, Served

RETRY = b"retry: 2000\n"  # the beginning of the first block


class Wire:
    """One raw connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        await self.send(request(method, path, headers, body, version))

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.reader.readuntil(end)

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read the status line and the headers, their names in lower case."""
        status, *lines = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return status, {name.lower(): value for name, _, value in pairs}

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; the last is empty."""
        size = int((await self.until(b"\r\n")).strip(), 16)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return (await self.reader.readexactly(size + 2))[:-2]

    async def body(self) -> bytes:
        """Read a chunked body to its end."""
        whole = b""
        while chunk := await self.chunk():
            whole += chunk
        return whole

    async def content(self, headers: Mapping[str, str]) -> bytes:
        """Read a body of known length."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.reader.readexactly(int(headers["content-length"]))

    async def rest(self) -> bytes:
        """Read until the server closes."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.reader.read()

    def reset(self) -> None:
        """Leave with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.close()


def request(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


@asynccontextmanager
async def wire(served: Served) -> AsyncIterator[Wire]:
    """Open a raw connection."""
    reader, writer = await asyncio.open_connection(served.client.host, served.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def shrink_buffers(served: Served) -> None:
    """Let the kernel buffer little for connections accepted from now on."""
    for listening in served.listening.sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


class Silent:
    """A client that sends its request and then does not read."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    async def read(self, size: int = 65536) -> bytes:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await asyncio.get_running_loop().sock_recv(self.socket, size)

    async def rest(self) -> tuple[bytes, bool]:
        """Read what there is; tell whether the connection ended with a reset."""
        whole = b""
        try:
            while data := await self.read():
                whole += data
        except ConnectionResetError:
            return whole, True
        return whole, False


@asynccontextmanager
async def silent(served: Served, data: bytes) -> AsyncIterator[Silent]:
    """Send a request over a connection that buffers little, and read nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(connection, (served.client.host, served.port))
        await loop.sock_sendall(connection, data)
        yield Silent(connection)


def connections(served: Served) -> list[asyncio.Transport]:
    """Return the server's side of the open connections."""
    protocols = served.client.server.handler.connections
    return [protocol.transport for protocol in protocols if protocol.transport is not None]


def frames(raw: bytes) -> list[bytes]:
    """Cut the bytes of a stream, or of its end, into frames, the blank lines included."""
    raw = raw.removeprefix(RETRY)
    assert raw.endswith(b"\n\n") or not raw
    return [frame + b"\n\n" for frame in raw.split(b"\n\n")[:-1]]


def frame_data(frame: bytes) -> dict[str, Any]:
    """Decode the data of a frame."""
    (line,) = (line for line in frame.split(b"\n") if line.startswith(b"data: "))
    return dict(msgspec.json.decode(line.removeprefix(b"data: ")))


def dechunked(raw: bytes) -> bytes:
    """Return the chunked body of a whole answer."""
    _, _, rest = raw.partition(b"\r\n\r\n")
    whole = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return whole
        whole += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
