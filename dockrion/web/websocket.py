"""One WebSocket: its opening, what its client says, and its end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Annotated

import msgspec
from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from dockrion.errors import (
    DockrionError,
    Forbidden,
    InvalidRequest,
    PolicyViolation,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from dockrion.events import MAX_REASON_LENGTH
from dockrion.events.control_frames import AuthExpired, Control, Draining, Gone, Timeout
from dockrion.web.cors import allowed_origins
from dockrion.web.responses import error_body, to_dockrion_error
from dockrion.web.streams import Connection, StalledReaderError, time_left
from dockrion.wire import websocket

_INVALID, _NOT_FOUND, _TIMEOUT, _TOO_MANY = 4400, 4404, 4408, 4429
_NOT_ALLOWED = WSCloseCode.POLICY_VIOLATION
_CODES_OF_CONTROLS: dict[type[Control], int] = {
    Timeout: _TIMEOUT,
    AuthExpired: _NOT_ALLOWED,
    Gone: _NOT_FOUND,
    Draining: WSCloseCode.GOING_AWAY,
}
_CODES_OF_STATUSES = {
    400: _INVALID,
    403: _NOT_ALLOWED,
    404: _NOT_FOUND,
    413: WSCloseCode.MESSAGE_TOO_BIG,
    415: WSCloseCode.UNSUPPORTED_DATA,
    429: _TOO_MANY,
    503: WSCloseCode.TRY_AGAIN_LATER,
}


class _Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_LENGTH)] | None = None


class _Ping(msgspec.Struct, frozen=True, tag="ping"):
    pass


_decoder = msgspec.json.Decoder(_Cancel | _Ping)
_PONG = websocket.text_message(b'{"type":"pong"}')


class Socket(Connection):
    """A WebSocket. What it writes goes past the response's own writer, a whole message at a time.

    Args:
        request: What asked for it.
    """

    __slots__ = ("_answered", "_asked_to_cancel", "_response", "_sending")

    def __init__(self, request: web.Request) -> None:
        super().__init__(request, websocket, websocket.encode_events)
        self._response = web.WebSocketResponse(
            timeout=self._service.write_seconds,
            autoping=False,  # a flood of pings is answered as slowly as it is read
            compress=False,
            max_msg_size=self._service.dockfile.limits.max_body_bytes + 1,  # the first size that is refused
        )
        self._sending = asyncio.Lock()
        self._answered = True
        self._asked_to_cancel = False

    async def serve(self, work: Callable[["Socket"], Awaitable[Control | None]]) -> web.StreamResponse:
        """Open it, do something with it, and close it with the code that says how that went.

        Args:
            work: What to do. It returns what the client was told at the end that was not the run's.

        Raises:
            Forbidden: A page of an origin that is not allowed asks.
            InvalidRequest: This is no handshake.
        """
        request = self.request
        self._refuse_other_origins()
        try:
            await self._response.prepare(request)
        except web.HTTPBadRequest:
            raise InvalidRequest("only WebSockets of version 13 are served here (RFC 6455)") from None
        except ConnectionError:  # the client has left
            return self._response
        try:
            said = await work(self)
            code = WSCloseCode.OK if said is None else _CODES_OF_CONTROLS[type(said)]
            await self._close(code, "" if said is None else said.type)
        except (ConnectionError, StalledReaderError):
            self.abort()
        except Exception as error:  # HTTP can say nothing any more
            await self._refuse(to_dockrion_error(error, request))
        return self._response

    async def first_text(self, seconds: int) -> str | Control | None:
        """Wait for the client's first message.

        Args:
            seconds: How long.

        Returns:
            The message; what the client was told where none came; None if it left.

        Raises:
            UnsupportedMediaType: The message is no text.
        """
        streams = self._service.streams
        left, expires = time_left(seconds, self.request)
        try:
            async with asyncio.timeout(left) as deadline:
                streams.add(deadline)
                try:
                    return await self._next_text()
                finally:
                    streams.remove(deadline)
        except TimeoutError:
            return await self.send_final(self._deadline_frame(seconds, expires=expires))

    async def converse(
        self,
        run_id: str,
        after: int,
        *,
        timeout: int | None,  # noqa: ASYNC109  as in `stream`
        may_cancel: bool,
    ) -> Control | None:
        """Write a run's events as `stream` does, and meanwhile do what the client says.

        Args:
            run_id: The run.
            after: The last sequence the client has.
            timeout: Seconds until this ends all the same, None for no such end.
            may_cancel: Whether the client may cancel the run.

        Returns:
            What the client was told at the end that was not the run's, if anything.

        Raises:
            DockrionError: What `stream` raises; the client said what it should not.
        """
        carrying = asyncio.create_task(self.stream(run_id, after, timeout=timeout))
        hearing = asyncio.create_task(self._hear(run_id, may_cancel=may_cancel))
        try:
            await asyncio.wait((carrying, hearing), return_when=asyncio.FIRST_COMPLETED)
            return carrying.result() if carrying.done() else hearing.result()
        finally:
            carrying.cancel()
            hearing.cancel()
            await asyncio.gather(carrying, hearing, return_exceptions=True)

    async def send(self, data: bytes) -> None:
        async with self._sending:  # messages do not go into one another
            await super().send(data)

    async def _open(self) -> None:
        """Do nothing: it is open before anything is known of the run."""

    async def _write(self, piece: bytes | memoryview) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(piece)

    def _pieces(self, data: bytes, max_bytes: int) -> Iterator[bytes | memoryview]:
        return websocket.split_between_frames(
            data, max_bytes
        )  # a pong may go between two frames, not into one

    async def _send_keepalive(self) -> None:
        if not self._answered:
            raise StalledReaderError
        self._answered = False
        await super()._send_keepalive()

    async def _hear(self, run_id: str, *, may_cancel: bool) -> None:
        """Do what the client says, until it leaves."""
        while (text := await self._next_text()) is not None:
            try:
                said = _decoder.decode(text)
            except (ValueError, RecursionError):
                raise InvalidRequest('send {"type":"cancel","reason":"…"} or {"type":"ping"}') from None
            if isinstance(said, _Ping):
                await self.send(_PONG)
            elif not may_cancel:
                raise Forbidden("this run may be read here, not cancelled")
            elif not self._asked_to_cancel:
                self._asked_to_cancel = True
                await self._service.backend.request_cancel(run_id, said.reason)

    async def _next_text(self) -> str | None:
        """Return the client's next message, None when it has left or is closed for what it sent."""
        while True:
            message = await self._response.receive()
            self._answered = True
            match message.type:
                case WSMsgType.TEXT:
                    return str(message.data)
                case WSMsgType.BINARY:
                    raise UnsupportedMediaType("send text messages with JSON, not binary ones")
                case WSMsgType.PING:
                    await self.send(websocket.pong(bytes(message.data)))
                case WSMsgType.PONG:
                    pass
                case _:
                    return None
            await asyncio.sleep(0)  # what has come already is read without waiting, however much it is

    async def _refuse(self, failure: DockrionError) -> None:
        body = {"type": "refused", **msgspec.to_builtins(error_body(failure, self._service.redactor))}
        code = _CODES_OF_STATUSES.get(failure.status, WSCloseCode.INTERNAL_ERROR)
        if isinstance(failure, PolicyViolation):
            code = _NOT_ALLOWED
        elif isinstance(failure, ServiceUnavailable) and self._service.runs.draining:
            code = WSCloseCode.GOING_AWAY
        await self._send_last(websocket.text_message(msgspec.json.encode(body)))
        await self._close(code, failure.code)

    async def _close(self, code: int, reason: str) -> None:
        """Close, and let the client have what was written, if it takes it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._service.write_seconds):
                await self._response.close(code=code, message=reason.encode())
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.abort()

    def _refuse_other_origins(self) -> None:
        """Return if no page asks, or one that may: no browser asks first, as it does for `fetch`."""
        origin = self.request.headers.get(hdrs.ORIGIN)
        allowed = allowed_origins(self._service.dockfile)
        if origin is not None and origin not in allowed and "*" not in allowed:
            raise Forbidden("pages of this origin may not connect; see expose.cors.origins")
