"""Streams of a run's events in another protocol: the loop of `web/streams.py` with the protocol's frames."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from aiohttp import HttpVersion11, web

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import Page
from dockrion.backends.run_log import Run
from dockrion.errors import ServiceUnavailable, Unauthorized
from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Control, Draining, Gap
from dockrion.protocols import Encoder, State
from dockrion.web.http_streams import HttpStream
from dockrion.web.invoke import cancel_unless_resumable
from dockrion.web.protocols.resuming import Resumption, final_state
from dockrion.web.service import SERVICE
from dockrion.web.streams import PIECE_BYTES
from dockrion.wire import sse

S = TypeVar("S", bound=State)


class _Translation(msgspec.Struct, frozen=True, gc=False):
    """What a page is in a protocol.

    Attributes:
        frames: Its frames.
        chunk: The same with the chunked transfer coding (RFC 9112, 7.1); empty, too, if the frames are too
            many to be written at once.
        state: The encoder's state after the page.
    """

    frames: bytes
    chunk: bytes
    state: Any


class ProtocolStream(HttpStream):
    """A stream of a run's events, encoded for the clients of another protocol.

    Args:
        request: The request.
        encoder: The protocol's encoder for the run.
        headers: Further headers.

    Attributes:
        ended: Whether the protocol has ended the stream, although the run may go on.
    """

    __slots__ = ("_chunked", "_encoder", "_first_frames", "_loop", "_state", "_written_at")

    def __init__(
        self, request: web.Request, encoder: Encoder[Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(request, sse, headers)
        self._encoder = encoder
        self._state: State = encoder.start()
        self._first_frames = b""
        self._chunked = request.version >= HttpVersion11
        self._loop = asyncio.get_running_loop()
        self._written_at = self._loop.time()

    @property
    def ended(self) -> bool:
        return self._ended

    async def send_events(
        self,
        run: RunRef,
        resumption: Resumption | None = None,
        *,
        timeout: int | None = None,  # noqa: ASYNC109  as in `send_run`
    ) -> Control | None:
        """Write a run's events as `send_run` does.

        Args:
            run: The run.
            resumption: Where the reader goes on, None for the beginning.
            timeout: Seconds, None for no timeout.

        Returns:
            As `send_run`.

        Raises:
            DockrionError: As `send_run`.
        """
        after = 0
        if resumption is not None:
            after, self._first_frames = resumption.after, resumption.frames
            self._advance(resumption.state)
        return await self.send_run(run, after, timeout=timeout)

    def _preamble(self) -> bytes:
        return self._first_frames

    async def _send_gap(self, gap: Gap) -> None:
        frames, state = self._encoder.encode_gap(self._state, gap)
        self._advance(state)
        await self._send_frames(frames)

    async def _send_entries(self, page: Page) -> None:
        translation = self._translation(page)
        self._advance(translation.state)  # at once: if the stream has to end meanwhile, the frames are sent
        if translation.frames:
            await self._send_frames(translation.frames)
        elif self._is_idle:
            await self._send_keepalive()

    async def _send_frames(self, frames: bytes) -> None:
        self._written_at = self._loop.time()
        await self.send(frames)

    async def _send_keepalive(self) -> None:
        await self._send_frames(sse.KEEPALIVE)

    def _control_frame(self, control: Control) -> bytes:
        return self._encoder.encode_control(self._state, control)

    def _write_now(self, page: Page) -> bool:
        # The conditions are those of the method that this overrides, and which is too hot for a further call.
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if page.entries[0].sequence != self._position + 1:  # of another state than this reader's, too
            return False
        translation = self._translation(page)
        # Ending the stream, and keeping it alive while there are no frames, is up to the reader's task.
        if translation.state.ended or len(translation.frames) > PIECE_BYTES:
            return False
        if translation.frames:
            transport.write(translation.chunk if self._chunked else translation.frames)
            self._written_at = self._loop.time()
        elif self._is_idle:
            return False
        self._advance(translation.state)
        self._on_delivered(page)
        return True

    def _advance(self, state: State) -> None:
        self._state = state
        self._ended = state.ended

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was written for as long as after which a connection needs a sign of life."""
        idle = self._service.dockfile.streaming.events.heartbeat_interval
        return self._loop.time() - self._written_at >= idle

    def _translation(self, page: Page) -> _Translation:
        state = self._state
        return page.once((self._encoder, state.origin), partial(_translate, self._encoder, state))


def _translate(encoder: Encoder[Any], state: State, entries: Sequence[Entry]) -> _Translation:
    frames, after = encoder.encode(state, entries)
    chunk = b"%x\r\n%s\r\n" % (len(frames), frames) if 0 < len(frames) <= PIECE_BYTES else b""
    return _Translation(frames, chunk, after)


async def stream_new_run(
    request: web.Request,
    run: Run,
    encoder: Encoder[Any],
    resumption: Resumption | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    cancel_on_disconnect: bool,
) -> web.StreamResponse:
    """Stream a run to the caller who has started it, or has made it go on.

    Args:
        request: The caller's request.
        run: The run.
        encoder: Encodes its events.
        resumption: Where the stream begins, None for the run's beginning.
        headers: Further headers of the response.
        cancel_on_disconnect: Whether the run is cancelled when the caller leaves.
    """
    ref = RunRef(run.run_id, run.incarnation)
    stream = ProtocolStream(request, encoder, headers)
    last_frame = None
    try:
        last_frame = await stream.send_events(ref, resumption)
        return stream.response
    finally:
        if cancel_on_disconnect and stream.ended:
            request.app[SERVICE].runs.caller_left(ref, cancel=False)
        elif cancel_on_disconnect:
            cancel_unless_resumable(request, ref, last_frame)


async def final_state_of_new_run(
    request: web.Request, run: Run, encoder: Encoder[S], *, cancel_on_disconnect: bool
) -> S:
    """Wait for a run's end as `final_state` does, for the caller who has started it.

    Args:
        request: The caller's request.
        run: The run.
        encoder: Encodes its events.
        cancel_on_disconnect: Whether the run is cancelled when the caller leaves.
    """
    ref = RunRef(run.run_id, run.incarnation)
    ended_by: Control | None = None
    try:
        return await final_state(request, ref, encoder)
    except Unauthorized:
        ended_by = AuthExpired()
        raise
    except ServiceUnavailable:
        ended_by = Draining()
        raise
    finally:
        if cancel_on_disconnect:
            cancel_unless_resumable(request, ref, ended_by)
