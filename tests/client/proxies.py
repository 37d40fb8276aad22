"""A proxy that cuts connections, and servers with scripted responses."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from dockrion.events.control_frames import Gap
from dockrion.wire import sse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Run-Id: r\r\n\r\nretry: 1\n\n"
GAP = sse.encode_control(Gap(1, 3))


class Proxy:
    """Forwards bytes, and closes connections within the response.

    Args:
        port: The service's port.
        cuts: After how many bytes of the response each of the first connections is closed.

    Attributes:
        service: The port to which new connections are forwarded.
        requests: What clients have sent.
    """

    def __init__(self, port: int, cuts: Iterable[int]) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.service = port
        self._cuts = list(cuts)

    @property
    def cuts_left(self) -> int:
        return len(self._cuts)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._cuts.pop(0) if self._cuts else None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.service)
        except ConnectionError:
            writer.close()
            return
        forwarding = asyncio.create_task(self._forward_requests(reader, up_writer))
        try:
            while data := await up_reader.read(65536):
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    await writer.drain()
                    break
                left = None if left is None else left - len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:  # the client left
            pass
        finally:
            forwarding.cancel()
            for each in (writer, up_writer):  # before anything is awaited, where this may be cancelled
                each.close()
            await asyncio.wait([forwarding])

    async def _forward_requests(self, reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.requests.append(data)
                up_writer.write(data)
            up_writer.close()


@asynccontextmanager
async def proxy(port: int, cuts: Iterable[int]) -> AsyncIterator[Proxy]:
    made = Proxy(port, cuts)
    async with listening(made.forward) as made.port:
        yield made


class Scripted:
    """Sends the next scripted response on each connection, the last one repeatedly.

    Attributes:
        requests: The heads and bodies of the requests.
    """

    def __init__(self, responses: Iterable[bytes], *, reset: bool) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self._responses = list(responses)
        self._reset = reset

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.requests.append(head + await reader.readexactly(int(length or 0)))
            writer.write(self._responses.pop(0) if len(self._responses) > 1 else self._responses[0])
            await writer.drain()
        if self._reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()


@asynccontextmanager
async def scripted(*responses: bytes, reset: bool = False) -> AsyncIterator[Scripted]:
    made = Scripted(responses, reset=reset)
    async with listening(made.respond) as made.port:
        yield made


@asynccontextmanager
async def listening(serve: Callable[..., object]) -> AsyncIterator[int]:
    """Serve connections with this handler, yield the port, and close them all at the end."""
    tasks: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)  # type: ignore[misc]  # each of them is async
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def error_response(status: int, code: str, headers: str = "", message: str = "no") -> bytes:
    """Return an error response of the service."""
    body = f'{{"success":false,"error":"{message}","code":"{code}"}}'
    return (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


def json_response(body: str, status: int = 200) -> bytes:
    return (
        f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()
