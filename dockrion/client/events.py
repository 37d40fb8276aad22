"""What a stream yields: events, each a struct of its type, and gaps."""

from typing import Annotated, Literal

import msgspec

from dockrion.client.errors import ProtocolError
from dockrion.events import Event
from dockrion.events.decoding import decode as decode_event
from dockrion.wire.sse import Message


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


_gap_decoder = msgspec.json.Decoder(Gap)


def decode(message: Message) -> Event | Gap:
    """Return the event or gap that a message carries.

    Raises:
        ProtocolError: It is malformed, or carries another event than its `id:` and `event:` lines say.
    """
    if message.id is None:
        return decode_gap(message)
    try:
        event = decode_event(message.event, message.data)
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
