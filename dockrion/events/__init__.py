"""What a run emits: event types, their fields and JSON, and the filter of which are emitted.

Import the names below from here. Two modules are imported by name: `control_frames`, what a
connection sends besides events, and `validation`, which checks what agents emit. Imports only
the base modules; everything that stores, sends or reads events imports this package.
"""

from dockrion.events.encoding import Entry, encode, encode_heartbeat
from dockrion.events.filter import PRESETS, EventFilter
from dockrion.events.types import (
    COMMON_FIELDS,
    CONFIGURABLE,
    CUSTOM_NAME,
    CUSTOM_PREFIX,
    ERROR_CODE,
    MANDATORY,
    MAX_EVENT_BYTES,
    MAX_REASON_LENGTH,
    MAX_SEQUENCE,
    TERMINAL,
    UNTYPED_WRITES,
    Cancelled,
    Checkpoint,
    Complete,
    Error,
    Event,
    Heartbeat,
    Progress,
    Started,
    Step,
    Token,
    Utc,
    check_custom_fields,
    custom_type,
)

__all__ = [
    "COMMON_FIELDS",
    "CONFIGURABLE",
    "CUSTOM_NAME",
    "CUSTOM_PREFIX",
    "ERROR_CODE",
    "MANDATORY",
    "MAX_EVENT_BYTES",
    "MAX_REASON_LENGTH",
    "MAX_SEQUENCE",
    "PRESETS",
    "TERMINAL",
    "UNTYPED_WRITES",
    "Cancelled",
    "Checkpoint",
    "Complete",
    "Entry",
    "Error",
    "Event",
    "EventFilter",
    "Heartbeat",
    "Progress",
    "Started",
    "Step",
    "Token",
    "Utc",
    "check_custom_fields",
    "custom_type",
    "encode",
    "encode_heartbeat",
]
