"""An event as the bytes that backends store and transports write. Each is encoded once."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion import json_encoding
from dockrion.events.types import CONFIGURABLE, MANDATORY, Event, Heartbeat

_TYPES: dict[str, type[Event]] = MANDATORY | CONFIGURABLE
_TIMESTAMP = b',"timestamp":"'
_encoder = msgspec.json.Encoder()


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One encoded event: what backends store and transports write.

    Attributes:
        sequence: Position in the run, from 1.
        type: The event's type.
        data: The event as one line of JSON.
        emitted_at: Seconds since the epoch.
    """

    sequence: int
    type: str
    data: bytes
    emitted_at: float


def encode(event_type: str, run_id: str, sequence: int, timestamp: datetime, fields: dict[str, Any]) -> bytes:
    """Encode one event as the JSON that every reader gets.

    Args:
        event_type: A known type, or `custom:<name>`.
        run_id: The run it belongs to.
        sequence: Its position in the run, from 1.
        timestamp: When it was emitted, UTC.
        fields: The type's own fields.

    Raises:
        json_encoding.NotJSON: A field has no JSON form; the error names it.
    """
    event_id = f"{run_id}:{sequence}"
    struct = _TYPES.get(event_type)
    event: Any
    if struct is None:
        event = {
            "id": event_id,
            "type": event_type,
            "run_id": run_id,
            "sequence": sequence,
            "timestamp": timestamp,
            **fields,
        }
    else:
        event = struct(id=event_id, run_id=run_id, sequence=sequence, timestamp=timestamp, **fields)
    try:
        return _encoder.encode(event)
    except Exception:  # only for fields that validation did not convert: name the one at fault
        for name, value in fields.items():
            json_encoding.encode(value, name)
        return json_encoding.encode(event)


def own_fields(data: bytes) -> bytes:
    """Return the fields of an event besides those that every event has, as the JSON of an object.

    Args:
        data: The event as `encode` writes it: the common fields first, and no quote in a timestamp.
    """
    return timestamp_and_own_fields(data)[1]


def timestamp_and_own_fields(data: bytes) -> tuple[bytes, bytes]:
    """Return an event's timestamp as JSON, and its own fields; see `own_fields`."""
    begin = data.index(_TIMESTAMP) + len(_TIMESTAMP)
    end = data.index(b'"', begin) + 1
    return data[begin - 1 : end], b"{" + data[end:].removeprefix(b",")


def encode_heartbeat(run_id: str, sequence: int, unique: str) -> bytes:
    """Encode the service's own heartbeat: a control frame, not an event of the log.

    Args:
        run_id: The run that the connection reads.
        sequence: The last one delivered on this connection.
        unique: The part of its `id` that no other heartbeat has.
    """
    now = datetime.now(UTC)
    return json_encoding.encode(
        Heartbeat(id=f"{run_id}:heartbeat:{unique}", run_id=run_id, sequence=sequence, timestamp=now)
    )
