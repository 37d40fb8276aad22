"""The stream writer: one loop per connection."""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import HttpVersion11, hdrs, web

from dockrion import events, ids, sse
from dockrion.backends.follow import IDLE, follow
from dockrion.backends.reading import Page
from dockrion.errors import RunNotFound
from dockrion.events import Entry
from dockrion.logs import log
from dockrion.web.access import EXPIRES_AT
from dockrion.web.service import SERVICE, Service

_logger = logging.getLogger(__name__)
_PIECE_BYTES = 60 * 1024  # less than a transport buffers before it makes its writer wait
_RETRY_MILLISECONDS = 2000
EXPIRED = web.RequestKey("expired", bool)  # the stream ended since what opened it had expired
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",  # nginx passes the stream on unbuffered
}


class _ReaderStuckError(Exception):
    """The reader took nothing for too long."""


async def stream(
    request: web.Request,
    run_id: str,
    after: int,
    *,
    timeout: int | None,  # noqa: ASYNC109  the contract's own timeout: it ends with a frame
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with a run's events after a position, until the run or the time is over.

    Args:
        request: The request to answer.
        run_id: The run.
        after: The last sequence the reader has.
        timeout: Seconds until the stream ends all the same, None for no such end.
        headers: More headers.

    Raises:
        RunNotFound: No such run.
        TooManySubscribers: It has as many as it may.
    """
    service = request.app[SERVICE]
    streaming = service.dockfile.streaming
    async with follow(
        service.backend,
        run_id,
        after,
        idle=streaming.events.heartbeat_interval,
        limit=streaming.connection.max_subscribers_per_run,
    ) as pages:
        response = web.StreamResponse(headers=_HEADERS | (headers or {}))
        if request.version < HttpVersion11:  # only the connection's end can end the answer
            del response.headers[hdrs.CONNECTION]
            response.force_close()
        try:
            await response.prepare(request)
        except ConnectionError:  # the reader left while the backend was asked
            return response
        connection = _Connection(request, response, service, run_id, after)
        pages.take = connection.take
        service.metrics.open_streams.inc()
        left, expires = _end(timeout, request)
        try:
            async with asyncio.timeout(left) as deadline:
                service.streams.add(deadline)
                try:
                    await connection.send(sse.retry(_RETRY_MILLISECONDS))
                    async for page in pages:
                        await connection.send_page(page)
                finally:
                    service.streams.remove(deadline)
        except TimeoutError:
            with suppress(ConnectionError, _ReaderStuckError):
                await connection.send(_last_words(request, sse.timeout(timeout or 0), expires=expires))
        except RunNotFound:
            with suppress(ConnectionError, _ReaderStuckError):
                await connection.send(sse.gone())
        except ConnectionError:  # the reader left
            return response
        except _ReaderStuckError:
            connection.abort()
        except Exception as error:  # the answer has begun: all that is left is to cut it
            log(_logger, logging.ERROR, "stream broke", run_id=run_id, error=error)
            connection.abort()
        finally:
            service.metrics.open_streams.dec()
        return response


def _end(timeout: int | None, request: web.Request) -> tuple[float | None, bool]:
    """Return the seconds until a stream's time is over, and whether what opened it expires then."""
    if EXPIRES_AT not in request:
        return timeout, False
    left = request[EXPIRES_AT] - time.time()
    return (left, True) if timeout is None or left <= timeout else (timeout, False)


def _last_words(request: web.Request, over: bytes, *, expires: bool) -> bytes:
    """Return what to say when a stream's time is over; the clock, which may be set, is not asked again."""
    if request.app[SERVICE].runs.draining:
        return sse.DRAINING
    if expires:
        request[EXPIRED] = True
        return sse.auth_expired()
    return over


def _chunk(entries: Sequence[Entry]) -> bytes:
    """Frame events as one chunk (RFC 9112, 7.1)."""
    data = sse.frames(entries)
    return b"%x\r\n%s\r\n" % (len(data), data)


class _Connection:
    """Writes to one reader and remembers what it has."""

    __slots__ = (
        "_after",
        "_encode",
        "_opened_at",
        "_request",
        "_response",
        "_run_id",
        "_service",
        "_transport",
    )

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        service: Service,
        run_id: str,
        after: int,
    ) -> None:
        self._request = request
        self._response = response
        self._transport = request.transport
        self._encode = sse.frames if request.version < HttpVersion11 else _chunk
        self._service = service
        self._run_id = run_id
        self._after = after
        self._opened_at = time.time()
        self._end_silence()

    async def send_page(self, page: Page) -> None:
        if page is IDLE:
            await self.send(self._sign_of_life())
            return
        first = page.entries[0].sequence
        if first > self._after + 1:
            await self.send(sse.gap(self._after + 1, first))
            self._after = first - 1
        if not self.take(page):
            await self.send(page.encoded(sse.frames))
            self._delivered(page)
        if page.more:  # a write that never waits never yields, and a long replay would hold the loop
            await asyncio.sleep(0)

    def take(self, page: Page) -> bool:
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

    async def send(self, data: bytes) -> None:
        """Write, and wait until the reader has taken enough of it.

        Raises:
            ConnectionError: The reader left.
            _ReaderStuckError: It takes nothing.
        """
        if len(data) <= _PIECE_BYTES:
            await self._send_piece(data)
            return
        whole = memoryview(data)  # pieces, so that a reader who takes a little is not stuck
        for start in range(0, len(data), _PIECE_BYTES):
            await self._send_piece(whole[start : start + _PIECE_BYTES])

    async def _send_piece(self, piece: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.get_write_buffer_size():
            await self._response.write(piece)  # too little to fill the buffer: this never waits
            return
        try:
            async with asyncio.timeout(self._service.write_seconds):
                await self._response.write(piece)
                await self._request.writer.drain()
        except TimeoutError:
            raise _ReaderStuckError from None

    def abort(self) -> None:
        """Close without an end of the stream, so that the reader knows to resume."""
        if (transport := self._request.transport) is not None:
            transport.abort()

    def _sign_of_life(self) -> bytes:
        if not self._service.events_filter.allows("heartbeat"):
            return sse.KEEP_ALIVE
        return sse.control("heartbeat", events.heartbeat(self._run_id, self._after, ids.uuid7()))

    def _end_silence(self) -> None:
        """Let the kernel end a connection whose peer acknowledges nothing.

        Heartbeats to a peer that is gone fill its buffers far too slowly to be noticed by
        the writer (RFC 5482, TCP User Timeout; tcp(7) on Linux).
        """
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        transport = self._request.transport
        connection = transport.get_extra_info("socket") if transport is not None else None
        if option is not None and connection is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):  # it is gone already, as the first write will find
                connection.setsockopt(socket.IPPROTO_TCP, option, int(self._service.write_seconds * 1000))
