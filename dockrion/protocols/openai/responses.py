"""OpenAI's Responses API: a run as a response, and its events as the response's stream."""

from collections.abc import Callable, Sequence

import msgspec

from dockrion.errors import Gone
from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols.openai.response_frames import Frames, delta_frames, in_json
from dockrion.protocols.openai.response_items import ItemsWriter
from dockrion.protocols.openai.response_object import ResponseInfo
from dockrion.protocols.openai.response_output import Text
from dockrion.protocols.openai.response_writer import ResponseState, ResponseWriter
from dockrion.protocols.token_runs import continuing

LOST = "events of this response are no longer stored; retrieve the response without stream"


class ResponseEncoder(msgspec.Struct, frozen=True):
    """Writes a run as the stream of a response. The number of a frame is how many frames precede it.

    Attributes:
        info: The response.
        after_gap: Whether encoding goes on after a gap; a stream ends there.
    """

    info: ResponseInfo
    after_gap: bool = False

    def start(self) -> ResponseState:
        return ResponseState(frames=2 if self.info.background else 1)

    def opening(self) -> bytes:
        """Return the frames before the first event, so that the caller of a run that waits has its id."""
        frames, status = Frames(0), "queued" if self.info.background else "in_progress"
        response = b'"response":' + self.info.response(status, b"[]")
        frames.add(b"response.created", response)
        if self.info.background:
            frames.add(b"response.queued", response)
        return frames.data()

    def encode(self, state: ResponseState, entries: Sequence[Entry]) -> tuple[bytes, ResponseState]:
        if (continued := _continued(state, entries)) is not None:
            return continued
        writer = ResponseWriter(self.info, state)
        writer.write(entries)
        return writer.data(), writer.state()

    def encode_gap(self, state: ResponseState, gap: Gap) -> tuple[bytes, ResponseState]:
        after = gap.first_available - 1
        if self.after_gap:
            return b"", msgspec.structs.replace(self.start(), origin=after, lost=after > 0)
        ended = msgspec.structs.replace(state, origin=after, ended=True, lost=True)
        return _error(state, Gone.code.lower(), LOST), ended

    def encode_notice(self, state: ResponseState, notice: Notice) -> bytes:
        return _error(state, notice.type, notice.message)

    def response(self, state: ResponseState) -> bytes:
        """Return the JSON of the response as far as its events are encoded."""
        if state.final:
            return state.final
        status = "in_progress" if state.attempts or state.lost or not self.info.background else "queued"
        writer = ItemsWriter(Frames(0), state.items, self.info.run_id, self.info.agent)
        return self.info.response(status, writer.output())


def frames_after(number: int) -> Callable[[ResponseState, ResponseState, int], int | None]:
    """Return the argument `skip` of `resuming.resume` for a reader who has the frames up to a number."""

    def skip(before: ResponseState, after: ResponseState, _sequence: int) -> int | None:
        return None if after.frames <= number + 1 else max(number + 1 - before.frames, 0)

    return skip


def _continued(state: ResponseState, entries: Sequence[Entry]) -> tuple[bytes, ResponseState] | None:
    """Encode tokens that only go on with an open text, as most pages do; None for other events."""
    items = state.items
    if (continued := continuing(state.open_texts, entries)) is None:
        return None
    key, contents = continued
    text = items.texts[key]
    grown = Text(text.index, False, text.delta, text.text.with_pieces(contents))
    return delta_frames(text.delta, state.frames, contents), msgspec.structs.replace(
        state, frames=state.frames + len(contents), items=items.with_text(key, grown)
    )


def _error(state: ResponseState, code: str, message: str) -> bytes:
    """Return the frame that ends a stream before the response; its number is that of the last frame before.

    So whoever resumes after it misses nothing.
    """
    frames = Frames(state.frames - 1)
    frames.add(b"error", b'"code":%s,"message":%s,"param":null' % (in_json(code), in_json(message)))
    return frames.data()
