"""What a stream yields: events, each a struct of its type, and gaps."""

from typing import Annotated, Any, Literal

import msgspec

from dockrion.client.errors import ProtocolError
from dockrion.events import COMMON_FIELDS, CONFIGURABLE, CUSTOM_PREFIX, MANDATORY, Event
from dockrion.wire.sse import Message


class Custom(Event, kw_only=True):
    """A custom event, or one of a type that this client does not know yet.

    Attributes:
        name: Its name, without the prefix `custom:`.
        data: The fields that the agent gave.
    """

    name: str
    data: dict[str, Any]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Events that the service no longer stores. The stream continues after them.

    Attributes:
        requested: The sequence of the first missing event.
        first_available: The sequence of the next event. If it is lower than `requested`, the run has never
            had that event: the position was that of an earlier run with its id, and the stream starts over.
    """

    type: Literal["gap"] = "gap"
    requested: Annotated[int, msgspec.Meta(ge=1)]
    first_available: Annotated[int, msgspec.Meta(ge=1)]


_event_decoders = {name: msgspec.json.Decoder(type_) for name, type_ in (MANDATORY | CONFIGURABLE).items()}
_gap_decoder = msgspec.json.Decoder(Gap)
_common_decoder = msgspec.json.Decoder(Event)
_fields_decoder = msgspec.json.Decoder(dict[str, Any])


def decode(message: Message) -> Event | Gap:
    """Return the event or gap that a message carries.

    Raises:
        ProtocolError: It is malformed, or carries another event than its `id:` and `event:` lines say.
    """
    if message.id is None:
        return decode_gap(message)
    try:
        event = _decode_event(message)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed {message.event:.50} event {message.id}: {error}") from None
    if (event.type, str(event.sequence)) != (message.event, message.id):
        raise ProtocolError(f"event {message.id} carries the data of another one")
    return event


def decode_gap(message: Message) -> Gap:
    """Return the gap that a control frame describes.

    Raises:
        ProtocolError: It is malformed.
    """
    try:
        return _gap_decoder.decode(message.data)
    except (msgspec.DecodeError, RecursionError):
        raise ProtocolError("malformed gap frame") from None


def _decode_event(message: Message) -> Event:
    decoder = _event_decoders.get(message.event)
    if decoder is not None:
        return decoder.decode(message.data)
    common = msgspec.structs.asdict(_common_decoder.decode(message.data))
    fields = _fields_decoder.decode(message.data)
    own = {name: value for name, value in fields.items() if name not in COMMON_FIELDS}
    return Custom(**common, name=message.event.removeprefix(CUSTOM_PREFIX), data=own)
