"""Newline-delimited JSON: one line per event or control frame.

A control frame has no `sequence`, so readers can tell it from an event and skip unknown ones.
"""

from collections.abc import Iterable

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control

MEDIA_TYPE = "application/x-ndjson"
PREAMBLE = b""
_KEEPALIVE = b'{"type":"heartbeat"}\n'


def encode_events(entries: Iterable[Entry]) -> bytes:
    return b"".join([entry.data + b"\n" for entry in entries])


def encode_control(control: Control) -> bytes:
    return msgspec.json.encode(control) + b"\n"


def keepalive(_heartbeat: bytes | None) -> bytes:
    return _KEEPALIVE
