"""Streams of a run's events in another protocol: the loop of `web/streams.py` with the protocol's frames."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import HttpVersion11, web

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import Page
from dockrion.backends.run_log import Run
from dockrion.errors import ServiceUnavailable, Unauthorized
from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Draining, Gap, Notice
from dockrion.protocols import Encoder, State
from dockrion.web.http_streams import HttpStream
from dockrion.web.invoke import cancel_unless_resumable
from dockrion.web.protocols.resuming import Resumption, encode, final_state
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

    __slots__ = ("_chunked", "_encoder", "_first_frames", "_key", "_silent_since", "_state")

    def __init__(
        self, request: web.Request, encoder: Encoder[Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(request, sse, headers)
        self._encoder = encoder
        self._state: State
        self._key: tuple[Encoder[Any], int]  # with a page, determines the state after it
        self._continue_from(encoder.start())
        self._first_frames = b""
        self._chunked = request.version >= HttpVersion11
        self._silent_since: float | None = None  # when the first event was encoded that has no frames

    @property
    def ended(self) -> bool:
        return self._ended

    async def send_events(
        self,
        run: RunRef,
        resumption: Resumption | None = None,
        *,
        timeout: int | None = None,  # noqa: ASYNC109  as in `send_run`
    ) -> Notice | None:
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
            self._continue_from(resumption.state)
        return await self.send_run(run, after, timeout=timeout)

    def _preamble(self) -> bytes:
        return self._first_frames

    async def _send_gap(self, gap: Gap) -> None:
        frames, state = self._encoder.encode_gap(self._state, gap)
        self._continue_from(state)
        await self._send_frames(frames)

    async def _send_entries(self, page: Page) -> None:
        translation = page.once(self._key, self._translate)
        # At once: if the stream has to end while this waits, the frames have been written all the same.
        self._state, self._ended = translation.state, translation.state.ended
        if translation.frames:
            await self._send_frames(translation.frames)
        elif self._is_silent():
            await self._send_keepalive()

    async def _send_frames(self, frames: bytes) -> None:
        self._silent_since = None
        await self.send(frames)

    async def _send_keepalive(self) -> None:
        await self._send_frames(sse.KEEPALIVE)

    def _notice_frame(self, notice: Notice) -> bytes:
        return self._encoder.encode_notice(self._state, notice)

    def _write_now(self, page: Page) -> bool:
        # The conditions are those of the method that this overrides, and which is too hot for a further call.
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if page.entries[0].sequence != self._position + 1:  # of another state than this reader's, too
            return False
        translation = page.once(self._key, self._translate)
        frames, state = translation.frames, translation.state
        # Ending the stream, and keeping it alive while there are no frames, is up to the reader's task.
        if state.ended or len(frames) > PIECE_BYTES:
            return False
        if frames:
            transport.write(translation.chunk if self._chunked else frames)
            self._silent_since = None
        elif self._is_silent():
            return False
        self._state = state
        self._on_delivered(page)
        return True

    def _continue_from(self, state: State) -> None:
        """Go on from a state that is not that after a page."""
        self._state, self._ended, self._key = state, state.ended, (self._encoder, state.origin)

    def _is_silent(self) -> bool:
        """Return whether events have had no frames for as long as an idle connection is left alone."""
        now = asyncio.get_running_loop().time()
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since >= self._service.dockfile.streaming.events.heartbeat_interval

    def _translate(self, entries: Sequence[Entry]) -> _Translation:
        frames, after = encode(self._encoder, self._state, entries)
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
    ref = run.ref
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
    ref = run.ref
    ended_by: Notice | None = None
    state = None
    try:
        state = await final_state(request, ref, encoder)
    except Unauthorized:
        ended_by = AuthExpired()
        raise
    except ServiceUnavailable:
        ended_by = Draining()
        raise
    finally:
        if cancel_on_disconnect and state is not None and state.ended:
            request.app[SERVICE].runs.caller_left(ref, cancel=False)
        elif cancel_on_disconnect:
            cancel_unless_resumable(request, ref, ended_by)
    return state
