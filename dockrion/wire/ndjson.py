"""Newline-delimited JSON: a line for each event.

What the connection says of itself are lines, too. They have no `sequence`, so that readers
can tell them from events and skip those that they do not know.
"""

from collections.abc import Iterable

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control

MEDIA_TYPE = "application/x-ndjson"
OPENING = b""
HEARTBEAT = b'{"type":"heartbeat"}\n'


def frames(entries: Iterable[Entry]) -> bytes:
    """Write events of the log as lines."""
    return b"".join([entry.data + b"\n" for entry in entries])


def said(control: Control) -> bytes:
    """Write what the connection says of itself."""
    return msgspec.json.encode(control) + b"\n"


def sign_of_life(_heartbeat: bytes | None) -> bytes:
    """Write what fills a silence."""
    return HEARTBEAT
