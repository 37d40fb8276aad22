"""What has to be opened again for a reader who goes on in the middle of a stream."""

import re
from collections.abc import Sequence

import msgspec

from dockrion.protocols.ag_ui import events
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.state import RunState
from dockrion.protocols.numbered_frames import frame

_OPENING = re.compile(r"(.+)_START(ED)?")
_CLOSING = re.compile(r"(.+)_(END|FINISHED)")


class _Event(msgspec.Struct, rename="camel"):
    """What an AG-UI event opens or closes."""

    type: str
    message_id: str = ""
    tool_call_id: str = ""
    step_name: str = ""


_decoder = msgspec.json.Decoder(_Event)


def reopening(encoder: RunEncoder, state: RunState, received: Sequence[bytes] = ()) -> bytes:
    """Return the frames that open again what is open, for a client that begins to read there.

    Args:
        encoder: The encoder.
        state: A state.
        received: The frames after it that the client has.
    """
    opened: dict[tuple[str, str], bytes] = {}
    for data in (*_opened(encoder, state), *(each.partition(b"data: ")[2].strip() for each in received)):
        event = _decoder.decode(data)
        own_id = event.message_id or event.tool_call_id or event.step_name
        if opening := _OPENING.fullmatch(event.type):
            opened[opening[1], own_id] = data
        elif closing := _CLOSING.fullmatch(event.type):
            opened.pop((closing[1], own_id), None)
        elif event.type == "RUN_ERROR":
            opened.clear()
    return b"".join(frame(data, 0, 0) for data in opened.values())


def _opened(encoder: RunEncoder, state: RunState) -> list[bytes]:
    """Return the events that have opened what is open after an event."""
    if not state.active:
        return []
    messages = [events.message_started(each.kind, each.id) for each in state.open]
    return [encoder.ids.run_started, *(event for message in messages for event in message)]
