"""What comes out of a stream: events, each a struct of its type, and gaps."""

from typing import Any, Literal

import msgspec

from dockrion.client.errors import ProtocolError
from dockrion.events import COMMON_FIELDS, CONFIGURABLE, CUSTOM_PREFIX, MANDATORY, Event
from dockrion.wire.sse import Message


class Custom(Event, kw_only=True):
    """An event of the agent's own, or of a type that this client does not know yet.

    Attributes:
        name: Its name, without the prefix `custom:`.
        data: The fields that the agent gave.
    """

    name: str
    data: dict[str, Any]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Says that events are lost: the service no longer keeps them. The stream goes on behind them.

    Attributes:
        requested: The first that is lost.
        first_available: The first that is there.
    """

    type: Literal["gap"] = "gap"
    requested: int
    first_available: int


_decoders = {name: msgspec.json.Decoder(kind) for name, kind in (MANDATORY | CONFIGURABLE).items()}
_gaps = msgspec.json.Decoder(Gap)
_common = msgspec.json.Decoder(Event)
_fields = msgspec.json.Decoder(dict[str, Any])


def gap(message: Message) -> Gap:
    """Return the gap that a control frame tells of.

    Raises:
        ProtocolError: It tells of none.
    """
    try:
        return _gaps.decode(message.data)
    except (msgspec.DecodeError, RecursionError):
        raise ProtocolError("a gap that says not of what") from None


def event(message: Message) -> Event:
    """Return the event that a frame carries.

    Raises:
        ProtocolError: It carries none, or another than it says.
    """
    try:
        found = _decoded(message)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(
            f"event {message.id} is not as an event of type {message.event:.50} is: {error}"
        ) from None
    if (found.type, str(found.sequence)) != (message.event, message.id):
        raise ProtocolError(f"event {message.id} carries the data of another")
    return found


def _decoded(message: Message) -> Event:
    decoder = _decoders.get(message.event)
    if decoder is not None:
        return decoder.decode(message.data)
    common = msgspec.structs.asdict(_common.decode(message.data))
    fields = _fields.decode(message.data)
    own = {name: value for name, value in fields.items() if name not in COMMON_FIELDS}
    return Custom(**common, name=message.event.removeprefix(CUSTOM_PREFIX), data=own)
