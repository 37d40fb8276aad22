"""A protocol for tests: numbered frames that open a message, write its pieces and close it."""

from collections.abc import Sequence

import msgspec

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols import State
from dockrion.wire.sse import Message


class TinyState(State, frozen=True, kw_only=True):
    frames: int = 0
    opened: bool = False


class TinyEncoder(msgspec.Struct, frozen=True):
    """Ends at a question, as protocols do whose clients answer with a new request."""

    name: str = "tiny"

    def start(self) -> TinyState:
        return TinyState()

    def encode(self, state: TinyState, entries: Sequence[Entry]) -> tuple[bytes, TinyState]:
        data, number, opened, ended = [], state.frames, state.opened, False
        for entry in entries:
            parts: list[object] = []
            if entry.type == "token":
                parts = [] if opened else ["open"]
                parts.append(msgspec.json.decode(entry.data)["content"])
                opened = True
            elif entry.type in events.TERMINAL or entry.type == "input_requested":
                parts = ["close"] if opened else []
                parts.append({"end": entry.type})
                opened, ended = False, entry.type == "input_requested"
            for part in parts:
                number += 1
                data.append(b"id: %d\ndata: %s\n\n" % (number, msgspec.json.encode(part)))
            if ended:
                break
        return b"".join(data), TinyState(origin=state.origin, ended=ended, frames=number, opened=opened)

    def encode_gap(self, _state: TinyState, gap: Gap) -> tuple[bytes, TinyState]:
        return b'data: {"lost":%d}\n\n' % gap.requested, TinyState(origin=gap.first_available - 1)

    def encode_notice(self, _state: TinyState, notice: Notice) -> bytes:
        return b"event: %s\ndata: {}\n\n" % notice.type.encode()


class Skip(msgspec.Struct, frozen=True):
    """Skips so many frames."""

    count: int

    def __call__(self, before: TinyState, after: TinyState, _sequence: int) -> int | None:
        return None if after.frames <= self.count else max(self.count - before.frames, 0)


def skip_after(message: Message) -> Skip:
    return Skip(int(message.id or 0))
