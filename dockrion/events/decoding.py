"""An event from its JSON, as a struct of its type."""

from typing import Any

import msgspec

from dockrion.events.types import COMMON_FIELDS, CONFIGURABLE, CUSTOM_PREFIX, MANDATORY, Event


class Custom(Event, kw_only=True):
    """A custom event, or one of a type that this version does not know.

    Attributes:
        name: Its name, without the prefix `custom:`.
        data: The fields that the agent gave.
    """

    name: str
    data: dict[str, Any]


_decoders = {name: msgspec.json.Decoder(type_) for name, type_ in (MANDATORY | CONFIGURABLE).items()}
_common_decoder = msgspec.json.Decoder(Event)
_fields_decoder = msgspec.json.Decoder(dict[str, Any])


def decode(event_type: str, data: bytes | str) -> Event:
    """Return an event.

    Args:
        event_type: Its type.
        data: Its JSON, as `encode` makes it.

    Raises:
        msgspec.DecodeError: It is not JSON, or not an event of the type.
    """
    decoder = _decoders.get(event_type)
    if decoder is not None:
        return decoder.decode(data)
    common = msgspec.structs.asdict(_common_decoder.decode(data))
    fields = _fields_decoder.decode(data)
    own = {name: value for name, value in fields.items() if name not in COMMON_FIELDS}
    return Custom(**common, name=event_type.removeprefix(CUSTOM_PREFIX), data=own)
