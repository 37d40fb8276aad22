"""The loop that carries a run's events to one reader, whatever the transport."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from aiohttp import web

from dockrion import events, ids
from dockrion.backends.follow import IDLE, follow
from dockrion.backends.pages import Page
from dockrion.errors import RunNotFound
from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Control, Draining, Gap, Gone, Timeout
from dockrion.logs import log
from dockrion.web.access import EXPIRES_AT
from dockrion.web.service import SERVICE
from dockrion.wire import Framing

_logger = logging.getLogger(__name__)
_PIECE_BYTES = 60 * 1024  # less than a transport buffers before it makes its writer wait


class StalledReaderError(Exception):
    """The reader took nothing, or did not answer, for too long."""


class Connection(ABC):
    """Writes to one reader and remembers what it has.

    Args:
        request: What the reader asked with.
        framing: How it wants its events.
        encode: Frames events as they stand on the connection; the same function for all readers
            who share those bytes.
    """

    __slots__ = (
        "_after",
        "_encode",
        "_framing",
        "_opened_at",
        "_run_id",
        "_service",
        "_transport",
        "_whole",
        "request",
    )

    def __init__(
        self, request: web.Request, framing: Framing, encode: Callable[[Sequence[Entry]], bytes]
    ) -> None:
        self.request = request
        self._framing = framing
        self._encode = encode
        self._service = request.app[SERVICE]
        self._transport = request.transport
        self._run_id = ""
        self._after = 0
        self._opened_at = 0.0
        self._whole = True

    @abstractmethod
    async def _open(self) -> None:
        """Begin the answer, if it has not begun.

        Raises:
            ConnectionError: The reader left.
        """

    @abstractmethod
    async def _write(self, piece: bytes | memoryview) -> None:
        """Hand bytes to the transport.

        Raises:
            ConnectionError: The reader left.
        """

    async def carry(
        self,
        run_id: str,
        after: int,
        *,
        timeout: int | None,  # noqa: ASYNC109  the contract's own timeout: it ends with words
    ) -> Control | None:
        """Write a run's events after a position, until the run or the time is over.

        Args:
            run_id: The run.
            after: The last sequence the reader has.
            timeout: Seconds until this ends all the same, None for no such end.

        Returns:
            What the reader was told at the end that was not the run's, if anything.

        Raises:
            RunNotFound: No such run. Nothing was written yet, nor where one of these is raised:
            TooManySubscribers: It has as many as it may.
            ServiceUnavailable: The storage is away.
        """
        service, request = self._service, self.request
        streaming = service.dockfile.streaming
        self._run_id, self._after = run_id, after
        said: Control | None = None
        async with follow(
            service.backend,
            run_id,
            after,
            idle=streaming.events.heartbeat_interval,
            limit=streaming.connection.max_subscribers_per_run,
        ) as pages:
            try:
                await self._open()
            except ConnectionError:  # the reader left while the backend was asked
                return None
            self._opened_at = time.time()
            pages.take = self._take
            service.metrics.open_streams.inc()
            left, expires = time_left(timeout, request)
            try:
                async with asyncio.timeout(left) as deadline:
                    service.streams.add(deadline)
                    try:
                        if self._framing.PREAMBLE:
                            await self.send(self._framing.PREAMBLE)
                        async for page in pages:
                            await self._send_page(page)
                    finally:
                        service.streams.remove(deadline)
            except TimeoutError:
                said = await self.say(self._last_words(timeout, expires=expires))
            except RunNotFound:
                said = await self.say(Gone())
            except ConnectionError:  # the reader left
                return None
            except StalledReaderError:
                self.abort()
            except Exception as error:  # the answer has begun: all that is left is to cut it
                log(_logger, logging.ERROR, "stream broke", run_id=run_id, error=error)
                self.abort()
            finally:
                service.metrics.open_streams.dec()
            return said

    async def say(self, control: Control) -> Control:
        """Tell the reader why this ends, if it still listens."""
        await self._tell(self._framing.encode_control(control))
        return control

    async def send(self, data: bytes) -> None:
        """Write, and wait until the reader has taken enough of it.

        Raises:
            ConnectionError: The reader left.
            StalledReaderError: It takes nothing.
        """
        if len(data) <= _PIECE_BYTES:
            await self._send_piece(data)
            return
        self._whole = False
        for piece in self._pieces(data, _PIECE_BYTES):  # so that a reader who takes a little is not stuck
            await self._send_piece(piece)
        self._whole = True

    def abort(self) -> None:
        """Close without an end of the stream, so that the reader knows to resume."""
        if (transport := self.request.transport) is not None:
            transport.abort()

    async def _tell(self, last_words: bytes) -> None:
        if not self._whole:  # they would pass for the rest of an event that was cut
            self.abort()
            return
        with suppress(ConnectionError, StalledReaderError):
            await self.send(last_words)

    async def _send_page(self, page: Page) -> None:
        if page is IDLE:
            await self._fill_silence()
            return
        first = page.entries[0].sequence
        if first > self._after + 1:
            await self.send(self._framing.encode_control(Gap(self._after + 1, first)))
            self._after = first - 1
        if not self._take(page):
            await self.send(page.encoded(self._framing.encode_events))
            self._delivered(page)
        if page.more:  # a write that never waits never yields, and a long replay would hold the loop
            await asyncio.sleep(0)

    def _take(self, page: Page) -> bool:
        """Write a page that follows, if that is sure not to wait; return whether it was written.

        Past the response's own writer, which frames for each reader what all of them share.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if page.entries[0].sequence != self._after + 1:
            return False
        data = page.encoded(self._encode)
        if len(data) > _PIECE_BYTES:
            return False
        transport.write(data)
        self._delivered(page)
        return True

    def _delivered(self, page: Page) -> None:
        last = page.entries[-1]
        self._after = last.sequence
        if not page.delivered:
            page.delivered = True
            if last.emitted_at >= self._opened_at:  # history is not late
                self._service.metrics.delivery_seconds.observe(time.time() - last.emitted_at)

    async def _fill_silence(self) -> None:
        heartbeat = None
        if self._service.events_filter.allows("heartbeat"):
            heartbeat = events.encode_heartbeat(self._run_id, self._after, ids.uuid7())
        await self.send(self._framing.keepalive(heartbeat))

    def _pieces(self, data: bytes, most: int) -> Iterator[bytes | memoryview]:
        whole = memoryview(data)
        return (whole[start : start + most] for start in range(0, len(data), most))

    async def _send_piece(self, piece: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.get_write_buffer_size():
            await self._write(piece)  # too little to fill the buffer: this never waits
            return
        try:
            async with asyncio.timeout(self._service.write_seconds):
                await self._write(piece)
                await self.request.writer.drain()
        except TimeoutError:
            raise StalledReaderError from None

    def _last_words(self, timeout: int | None, *, expires: bool) -> Control:
        """Return why a time was over; the clock, which may be set, is not asked again."""
        if self._service.runs.draining:
            return Draining()
        if expires:
            return AuthExpired()
        return Timeout(f"{timeout or 0} s are over; connect again to go on")


def time_left(timeout: int | None, request: web.Request) -> tuple[float | None, bool]:
    """Return the seconds until a stream's time is over, and whether what opened it expires then."""
    if EXPIRES_AT not in request:
        return timeout, False
    left = request[EXPIRES_AT] - time.time()
    return (left, True) if timeout is None or left <= timeout else (timeout, False)
