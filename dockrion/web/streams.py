"""The loop that streams a run's events to one reader, over any transport."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from aiohttp import web

from dockrion import events, ids
from dockrion.backends.follow import follow
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import IDLE, Page
from dockrion.backends.run_log import Run
from dockrion.errors import RunNotFound
from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Draining, Gap, Gone, Notice, Timeout
from dockrion.logs import log
from dockrion.web.access import EXPIRES_AT
from dockrion.web.service import SERVICE
from dockrion.wire import Framing

_logger = logging.getLogger(__name__)
PIECE_BYTES = 60 * 1024  # below a transport's high-water mark, so that one piece never waits


class StalledReaderError(Exception):
    """The reader took nothing, or did not respond to a ping, for too long."""


class Connection(ABC):
    """Writes a run's events to one reader. Nothing else writes events to its transport.

    Args:
        request: The reader's request.
        framing: The format of the stream.
        encode: Encodes events as they are on the connection, including what the transport adds (HTTP
            chunks); the same function for all readers that get the same bytes.
    """

    __slots__ = (
        "_at_frame_end",
        "_encode",
        "_ended",
        "_framing",
        "_opened_at",
        "_position",
        "_run_id",
        "_service",
        "_transport",
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
        self._position = 0
        self._opened_at = 0.0
        self._at_frame_end = True
        self._ended = False  # before the run's end

    @abstractmethod
    async def _open(self, incarnation: str) -> None:
        """Begin the response, if it has not begun.

        Args:
            incarnation: Of the run that is streamed.

        Raises:
            ConnectionError: The reader left.
        """

    @abstractmethod
    async def _write(self, piece: bytes | memoryview) -> None:
        """Hand bytes to the transport.

        Raises:
            ConnectionError: The reader left.
        """

    async def send_run(
        self,
        run: RunRef,
        after: int,
        *,
        start: int | None = None,
        timeout: int | None,  # noqa: ASYNC109  the contract's own timeout, which sends a notice
    ) -> Notice | None:
        """Write a run's events after a position until the run's end or the timeout.

        Args:
            run: The run. Not its record: a stream may last long, and an output may be large.
            after: The last sequence the reader has.
            start: The position from which the events are written, see `first_position`; None for `after`.
            timeout: Seconds, None for no timeout.

        Returns:
            The notice that ended the stream before the run's end, if one did.

        Raises:
            RunNotFound: No such run. This and the following are raised before anything is written.
            TooManySubscribers: The run has as many readers as it may.
            ServiceUnavailable: The storage cannot be reached.
        """
        service, request = self._service, self.request
        streaming = service.dockfile.streaming
        self._run_id, self._position = run.run_id, after
        async with follow(
            service.backend,
            run.run_id,
            after if start is None else start,
            run.incarnation,
            idle=streaming.events.heartbeat_interval,
            limit=streaming.connection.max_subscribers_per_run,
        ) as pages:
            try:
                await self._open(pages.incarnation)
            except ConnectionError:  # the reader left meanwhile
                return None
            self._opened_at = time.time()
            pages.deliver_to(self._write_now)
            service.metrics.requests.open_streams.inc()
            left, expires = time_left(timeout, request)
            try:
                async with asyncio.timeout(left) as deadline:
                    service.streams.add(deadline)
                    try:
                        if preamble := self._preamble():
                            await self.send(preamble)
                        while not self._ended and (page := await anext(pages, None)) is not None:
                            await self._send_page(page)
                    finally:
                        service.streams.remove(deadline)
            except TimeoutError:
                return await self.send_final(self._deadline_frame(timeout, expires=expires))
            except RunNotFound:
                return await self.send_final(Gone())
            except ConnectionError:
                pass  # the reader left
            except StalledReaderError:
                self.abort()
            except Exception as error:  # the response has begun, so it can only be cut off
                log(_logger, logging.ERROR, "stream broke", run_id=run.run_id, error=error)
                self.abort()
            finally:
                service.metrics.requests.open_streams.dec()
            return None

    async def send_final(self, notice: Notice) -> Notice:
        """Send the notice that ends the stream, if that is still possible, and return it."""
        await self._send_last(self._notice_frame(notice))
        return notice

    async def send(self, data: bytes) -> None:
        """Write frames, and wait until the transport has room again.

        Raises:
            ConnectionError: The reader left.
            StalledReaderError: It takes nothing.
        """
        if len(data) <= PIECE_BYTES:
            await self._send_piece(data)
            return
        self._at_frame_end = False
        for piece in self._pieces(data, PIECE_BYTES):  # each piece has its own timeout
            await self._send_piece(piece)
        self._at_frame_end = True

    def abort(self) -> None:
        """Close without an end of the stream, so that the reader resumes."""
        if (transport := self.request.transport) is not None:
            transport.abort()

    async def _send_last(self, frames: bytes) -> None:
        if not self._at_frame_end:  # the reader would parse them as the rest of the event that was cut off
            self.abort()
            return
        with suppress(ConnectionError, StalledReaderError):
            await self.send(frames)

    async def _send_page(self, page: Page) -> None:
        if page is IDLE:
            await self._send_keepalive()
            return
        first = page.entries[0].sequence
        if first != self._position + 1:
            await self._send_gap(Gap(self._position + 1, first))
            self._position = first - 1
            if self._ended:
                return
        if not self._write_now(page):
            await self._send_entries(page)
            self._on_delivered(page)
        if page.more:  # a write that does not wait does not yield: a long replay would block the loop
            await asyncio.sleep(0)

    def _preamble(self) -> bytes:
        """Return what the stream begins with."""
        return self._framing.PREAMBLE

    async def _send_gap(self, gap: Gap) -> None:
        await self.send(self._framing.encode_control(gap))

    async def _send_entries(self, page: Page) -> None:
        await self.send(page.encoded(self._framing.encode_events))

    def _notice_frame(self, notice: Notice) -> bytes:
        return self._framing.encode_control(notice)

    def _write_now(self, page: Page) -> bool:
        """Write a page if that cannot wait, and return whether it did.

        `backends/fanout.py` calls this for events that have just been stored. It bypasses the response's
        writer, which would frame again for each reader what is the same for all.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if page.entries[0].sequence != self._position + 1:
            return False
        data = page.encoded(self._encode)
        if len(data) > PIECE_BYTES:
            return False
        transport.write(data)
        self._on_delivered(page)
        return True

    def _on_delivered(self, page: Page) -> None:
        last = page.entries[-1]
        self._position = last.sequence
        if not page.delivered:
            page.delivered = True
            if last.emitted_at >= self._opened_at:  # a replayed event has no delay to measure
                self._service.metrics.requests.count_delivery(time.time() - last.emitted_at)

    async def _send_keepalive(self) -> None:
        heartbeat = None
        if self._service.events_filter.allows("heartbeat"):
            heartbeat = events.encode_heartbeat(self._run_id, self._position, ids.uuid7())
        await self.send(self._framing.keepalive(heartbeat))

    def _pieces(self, data: bytes, max_bytes: int) -> Iterator[bytes | memoryview]:
        view = memoryview(data)
        return (view[start : start + max_bytes] for start in range(0, len(data), max_bytes))

    async def _send_piece(self, piece: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.get_write_buffer_size():
            await self._write(piece)  # fits into the empty buffer, so this does not wait
            return
        try:
            async with asyncio.timeout(self._service.write_seconds):
                await self._write(piece)
                await self.request.writer.drain()
        except TimeoutError:
            raise StalledReaderError from None

    def _deadline_frame(self, timeout: int | None, *, expires: bool) -> Notice:
        """Return the frame for a deadline that is over. Not decided by the clock, which may be adjusted."""
        if self._service.runs.draining:
            return Draining()
        if expires:
            return AuthExpired()
        return Timeout(f"{timeout or 0} s are over; connect again to go on")


def first_position(run: Run, after: int) -> int:
    """Return the position from which a reader is sent a run's events.

    Args:
        run: The run's record.
        after: The last sequence the reader has. If the run's log has never been that long, the reader has
            events of another run with the id, and starts over.
    """
    return 0 if after > run.last_sequence else after


def time_left(timeout: int | None, request: web.Request) -> tuple[float | None, bool]:
    """Return a stream's seconds until its deadline, and whether that is its credential's expiry."""
    if EXPIRES_AT not in request:
        return timeout, False
    left = request[EXPIRES_AT] - time.time()
    return (left, True) if timeout is None or left <= timeout else (timeout, False)
