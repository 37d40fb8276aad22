"""A TCP proxy between a browser and the service, whose connections can be broken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Forwards bytes unless it is broken.

    Attributes:
        port: Where it listens.
        refused: How many connections it refused while broken.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refused = 0
        self._target = target
        self._intact = True
        self._silent = False
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset every connection, and new ones too, until `restore`."""
        self._intact = False
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Keep every connection open, but forward nothing until `restore`."""
        self._silent = True

    def restore(self) -> None:
        self._intact = True
        self._silent = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._intact:
            self.refused += 1
            writer.transport.abort()
            return
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, other_writer}
        try:
            await asyncio.gather(self._pass(reader, other_writer), self._pass(other_reader, writer))
        finally:
            for each in (writer, other_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self._silent:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """Listen in front of a local port."""
    between = Proxy(target)
    server = await asyncio.start_server(between.accept, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.cut()
