"""The import name that agents of Dockrion 0.0.3 use. New code imports from `dockrion` and `dockrion.events`.

The classes are those of `dockrion`. Those that had another name in 0.0.3 have both.
"""

from dockrion.events import (
    Cancelled,
    Checkpoint,
    Complete,
    Error,
    Event,
    EventFilter,
    Heartbeat,
    InputReceived,
    InputRequested,
    Message,
    Progress,
    Reasoning,
    Started,
    Step,
    Token,
    ToolCall,
    ToolResult,
    Usage,
)
from dockrion_events.context import RunCancelled, StreamContext, get_current_context, set_current_context

__all__ = [
    "BaseEvent",
    "Cancelled",
    "CancelledEvent",
    "Checkpoint",
    "CheckpointEvent",
    "Complete",
    "CompleteEvent",
    "Error",
    "ErrorEvent",
    "Event",
    "EventFilter",
    "EventsFilter",
    "Heartbeat",
    "HeartbeatEvent",
    "InputReceived",
    "InputRequested",
    "Message",
    "Progress",
    "ProgressEvent",
    "Reasoning",
    "RunCancelled",
    "Started",
    "StartedEvent",
    "Step",
    "StepEvent",
    "StreamContext",
    "Token",
    "TokenEvent",
    "ToolCall",
    "ToolResult",
    "Usage",
    "get_current_context",
    "set_current_context",
]

BaseEvent = Event
CancelledEvent = Cancelled
CheckpointEvent = Checkpoint
CompleteEvent = Complete
ErrorEvent = Error
EventsFilter = EventFilter
HeartbeatEvent = Heartbeat
ProgressEvent = Progress
StartedEvent = Started
StepEvent = Step
TokenEvent = Token
