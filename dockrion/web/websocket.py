"""Runs over WebSocket (RFC 6455): pattern A and pattern B, each on one connection.

The server sends events, control frames and pings; the client may cancel the run or ping. The code of
the closing frame tells how the stream ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Annotated

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from dockrion.backends.owner_messages import RunRef
from dockrion.errors import (
    DockrionError,
    Forbidden,
    InvalidRequest,
    PolicyViolation,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from dockrion.events import MAX_REASON_LENGTH
from dockrion.events.control_frames import AuthExpired, Draining, Gone, Notice, Timeout
from dockrion.web import parameters, payloads
from dockrion.web.access import CALLER
from dockrion.web.invoke import cancel_unless_resumable, cancels_on_disconnect
from dockrion.web.responses import error_body, to_dockrion_error
from dockrion.web.run_start import start_run
from dockrion.web.service import SERVICE
from dockrion.web.streams import Connection, StalledReaderError, first_position, time_left
from dockrion.wire import websocket

_INVALID, _NOT_FOUND, _TIMEOUT, _TOO_MANY = 4400, 4404, 4408, 4429
_NOT_ALLOWED = WSCloseCode.POLICY_VIOLATION
_CODE_OF_NOTICE: dict[type[Notice], int] = {
    Timeout: _TIMEOUT,
    AuthExpired: _NOT_ALLOWED,
    Gone: _NOT_FOUND,
    Draining: WSCloseCode.GOING_AWAY,
}
_CODE_OF_STATUS = {
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


_commands = msgspec.json.Decoder(_Cancel | _Ping)
_PONG = websocket.text_message(b'{"type":"pong"}')


async def watch(request: web.Request) -> web.StreamResponse:
    """Pattern B."""
    return await Socket(request).serve(_watch)


async def invoke(request: web.Request) -> web.StreamResponse:
    """Pattern A: the first message is the payload."""
    return await Socket(request).serve(_invoke)


class Socket(Connection):
    """A WebSocket, which bypasses the response's writer to send messages that are encoded already.

    Args:
        request: The request to upgrade.
    """

    __slots__ = ("_cancel_requested", "_peer_active", "_response", "_send_lock")

    def __init__(self, request: web.Request) -> None:
        super().__init__(request, websocket, websocket.encode_events)
        self._response = web.WebSocketResponse(
            timeout=self._service.write_seconds,
            autoping=False,  # pongs are sent here, no faster than the peer reads them
            compress=False,
            max_msg_size=self._service.dockfile.limits.max_body_bytes + 1,  # aiohttp rejects this size
        )
        self._send_lock = asyncio.Lock()
        self._peer_active = True  # it has sent something since the last keepalive
        self._cancel_requested = False

    async def serve(self, handler: Callable[["Socket"], Awaitable[Notice | None]]) -> web.StreamResponse:
        """Upgrade the connection, run a handler, and close with the code of its outcome.

        Args:
            handler: Serves the socket; returns the notice that ended the stream, if one did.

        Raises:
            Forbidden: The request is from a page whose origin is not allowed.
            InvalidRequest: The request is not a WebSocket handshake.
        """
        request = self.request
        self._service.cross_origin.check_page(request)  # browsers have no preflight for WebSockets
        try:
            await self._response.prepare(request)
        except web.HTTPBadRequest:
            raise InvalidRequest("only WebSockets of version 13 are served here (RFC 6455)") from None
        except ConnectionError:  # the client has left
            return self._response
        try:
            last_frame = await handler(self)
            code = WSCloseCode.OK if last_frame is None else _CODE_OF_NOTICE[type(last_frame)]
            await self._close(code, "" if last_frame is None else last_frame.type)
        except (ConnectionError, StalledReaderError):
            self.abort()
        except Exception as error:  # too late for an HTTP error response
            await self._close_refused(to_dockrion_error(error, request))
        return self._response

    async def receive_first(self, seconds: int) -> str | Notice | None:
        """Wait for the client's first message.

        Args:
            seconds: How long.

        Returns:
            The message; the notice that ended the wait; None if the client left.

        Raises:
            UnsupportedMediaType: The message is not text.
        """
        streams = self._service.streams
        left, expires = time_left(seconds, self.request)
        try:
            async with asyncio.timeout(left) as deadline:
                streams.add(deadline)
                try:
                    return await self._receive_text()
                finally:
                    streams.remove(deadline)
        except TimeoutError:
            return await self.send_final(self._deadline_frame(seconds, expires=expires))

    async def serve_run(
        self,
        run: RunRef,
        after: int,
        *,
        start: int | None = None,
        timeout: int | None,  # noqa: ASYNC109  as in `send_run`
        may_cancel: bool,
    ) -> Notice | None:
        """Stream a run's events as `send_run` does, and meanwhile execute the client's commands.

        Raises:
            DockrionError: As for `send_run`; or a command is malformed or not allowed.
        """
        sender = asyncio.create_task(self.send_run(run, after, start=start, timeout=timeout))
        receiver = asyncio.create_task(self._receive_commands(run, may_cancel=may_cancel))
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            return sender.result() if sender.done() else receiver.result()
        finally:
            sender.cancel()
            receiver.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def send(self, data: bytes) -> None:
        async with self._send_lock:  # the streaming and the receiving task both send
            await super().send(data)

    async def _open(self, incarnation: str) -> None:
        """Do nothing: the upgrade has been the response."""

    async def _write(self, piece: bytes | memoryview) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(piece)

    def _pieces(self, data: bytes, max_bytes: int) -> Iterator[bytes | memoryview]:
        # Whole frames, since a pong may follow a message that was cut off, but not a part of a frame.
        return websocket.split_between_frames(data, max_bytes)

    async def _send_keepalive(self) -> None:
        if not self._peer_active:
            raise StalledReaderError
        self._peer_active = False
        await super()._send_keepalive()

    async def _receive_commands(self, run: RunRef, *, may_cancel: bool) -> None:
        """Execute the client's commands until it leaves."""
        while (text := await self._receive_text()) is not None:
            try:
                command = _commands.decode(text)
            except (ValueError, RecursionError):
                raise InvalidRequest('send {"type":"cancel","reason":"…"} or {"type":"ping"}') from None
            if isinstance(command, _Ping):
                await self.send(_PONG)
            elif not may_cancel:
                raise Forbidden("this run may be read here, not cancelled")
            elif not self._cancel_requested:
                self._cancel_requested = True
                await self._service.backend.request_cancel(run.run_id, command.reason, run.incarnation)

    async def _receive_text(self) -> str | None:
        """Return the client's next text message, None once it has left or broken the protocol."""
        while True:
            message = await self._response.receive()
            self._peer_active = True
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
            await asyncio.sleep(0)  # receive() does not yield while messages are buffered

    async def _close_refused(self, failure: DockrionError) -> None:
        body = {"type": "refused", **msgspec.to_builtins(error_body(failure, self._service.redactor))}
        code = _CODE_OF_STATUS.get(failure.status, WSCloseCode.INTERNAL_ERROR)
        if isinstance(failure, PolicyViolation):
            code = _NOT_ALLOWED
        elif isinstance(failure, ServiceUnavailable) and self._service.runs.draining:
            code = WSCloseCode.GOING_AWAY
        await self._send_last(websocket.text_message(msgspec.json.encode(body)))
        await self._close(code, failure.code)

    async def _close(self, code: int, reason: str) -> None:
        """Close, giving the client time to take what was written."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._service.write_seconds):
                await self._response.close(code=code, message=reason.encode())
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.abort()


async def _watch(socket: Socket) -> Notice | None:
    request = socket.request
    after = parameters.position(request)
    timeout = parameters.timeout(request)
    access = request.app[SERVICE].access
    run = await access.readable_run(request)
    caller = request[CALLER]
    owns = not access.protected or (caller is not None and caller.owner == run.owner)
    watched, start = run.ref, first_position(run, after)
    del run  # its output may be large
    return await socket.serve_run(watched, after, start=start, timeout=timeout, may_cancel=owns)


async def _invoke(socket: Socket) -> Notice | None:
    request = socket.request
    request.app[SERVICE].runs.ready_agent()
    cancel_on_disconnect = cancels_on_disconnect(request)
    text = await socket.receive_first(request.app[SERVICE].dockfile.limits.body_timeout)
    if not isinstance(text, str):
        return text
    call = await payloads.decoded_call(request, text.encode())
    record, _ = await start_run(request, call, cancel_on_disconnect=cancel_on_disconnect)
    run = record.ref
    last_frame = None
    try:
        last_frame = await socket.serve_run(run, 0, timeout=None, may_cancel=True)
        return last_frame
    finally:
        if cancel_on_disconnect:
            cancel_unless_resumable(request, run, last_frame)
