"""Where in the stream of a chat completion a reader goes on: after how many chunks."""

from collections.abc import Callable, Sequence

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols import State
from dockrion.protocols.openai.chat import ChunkEncoder
from dockrion.protocols.openai.chat_parts import ReplyState

_FRAME_END = b"\n\n"


class PositionState(State, frozen=True, kw_only=True):
    """A place in the stream.

    Attributes:
        reply: The state of its encoder.
        chunks: How many chunks precede it.
    """

    reply: ReplyState
    chunks: int = 0


class CountingEncoder(msgspec.Struct, frozen=True):
    """Counts the chunks that an encoder writes, which have no numbers.

    Attributes:
        encoder: The encoder.
    """

    encoder: ChunkEncoder

    def start(self) -> PositionState:
        return _state(self.encoder.start(), 0)

    def encode(self, state: PositionState, entries: Sequence[Entry]) -> tuple[bytes, PositionState]:
        frames, reply = self.encoder.encode(state.reply, entries)
        return frames, _state(reply, state.chunks + frames.count(_FRAME_END))

    def encode_gap(self, state: PositionState, gap: Gap) -> tuple[bytes, PositionState]:
        frames, reply = self.encoder.encode_gap(state.reply, gap)
        return frames, _state(reply, state.chunks + frames.count(_FRAME_END))

    def encode_notice(self, state: PositionState, notice: Notice) -> bytes:
        return self.encoder.encode_notice(state.reply, notice)


def chunks_after(number: int) -> Callable[[PositionState, PositionState, int], int | None]:
    """Return the argument `skip` of `resuming.resume` for a reader who has the first chunks.

    Args:
        number: How many it has.
    """

    def skip(before: PositionState, after: PositionState, _sequence: int) -> int | None:
        return None if after.chunks <= number else number - before.chunks

    return skip


def _state(reply: ReplyState, chunks: int) -> PositionState:
    return PositionState(origin=reply.origin, ended=reply.ended, reply=reply, chunks=chunks)
