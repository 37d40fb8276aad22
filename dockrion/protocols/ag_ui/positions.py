"""Where in a stream a reader goes on, and what has to be opened again for it."""

import re
from collections.abc import Sequence

import msgspec

from dockrion.errors import InvalidRequest
from dockrion.events import MAX_SEQUENCE
from dockrion.protocols.ag_ui import events
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.state import RunState

_CURSOR = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?", re.ASCII)
_OPENING = re.compile(r"(.+)_START(ED)?")
_CLOSING = re.compile(r"(.+)_(END|FINISHED)")


class Cursor(msgspec.Struct, frozen=True):
    """The last frame that a reader has: its id.

    Attributes:
        sequence: The sequence of its log event.
        frame: Its number; None for the last frame of the event.
    """

    sequence: int
    frame: int | None = None

    def skip(self, _before: RunState, _after: RunState, sequence: int) -> int | None:
        """Return how many frames of an event the reader has, None for all; see `resuming.resume`."""
        if sequence == self.sequence:
            return self.frame
        return None if sequence < self.sequence else 0


class _Event(msgspec.Struct, rename="camel"):
    """What an AG-UI event opens or closes."""

    type: str
    message_id: str = ""
    tool_call_id: str = ""
    step_name: str = ""


_decoder = msgspec.json.Decoder(_Event)


def parse_cursor(text: str) -> Cursor:
    """Return the cursor in a `Last-Event-ID`.

    Raises:
        InvalidRequest: It is malformed.
    """
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[1]) > MAX_SEQUENCE:
        raise InvalidRequest("Last-Event-ID: must be the id of a frame, <sequence>.<number>, or a <sequence>")
    return Cursor(int(found[1]), None if found[2] is None else int(found[2]))


def reopening(encoder: RunEncoder, state: RunState, received: Sequence[bytes] = ()) -> bytes:
    """Return the frames that open again what is open, for a client that begins to read there.

    Args:
        encoder: The encoder.
        state: A state.
        received: The frames after it that the client has.
    """
    opened: dict[tuple[str, str], bytes] = {}
    for data in (*_opened(encoder, state), *(frame.partition(b"data: ")[2].strip() for frame in received)):
        event = _decoder.decode(data)
        own_id = event.message_id or event.tool_call_id or event.step_name
        if opening := _OPENING.fullmatch(event.type):
            opened[opening[1], own_id] = data
        elif closing := _CLOSING.fullmatch(event.type):
            opened.pop((closing[1], own_id), None)
        elif event.type == "RUN_ERROR":
            opened.clear()
    return b"".join(events.frame(data, 0, 0) for data in opened.values())


def _opened(encoder: RunEncoder, state: RunState) -> list[bytes]:
    """Return the events that have opened what is open after an event."""
    if not state.active:
        return []
    messages = [events.message_started(each.kind, each.id) for each in state.open]
    return [encoder.ids.run_started, *(event for message in messages for event in message)]
