"""The asyncio client of a service: `async with Client(url) as client`.

Import the names below from here. The client needs aiohttp and msgspec only, and imports of the service
`events` (the structs of events), `wire` (the decoder of event streams) and the base modules. `load` also uses
`transport`, `event_response` and `errors`, to read streams without the checks of `Stream`.
"""

from dockrion.client.client import Accepted, Client, InvokeResult, Run, WaitingFor
from dockrion.client.errors import (
    AgentTimeout,
    ClientError,
    Conflict,
    ConnectionLost,
    EventsGone,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    ProtocolError,
    ResponseError,
    ServerError,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from dockrion.client.events import Gap
from dockrion.client.stream import Stream
from dockrion.events import (
    Cancelled,
    Checkpoint,
    Complete,
    Error,
    Event,
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
from dockrion.events.decoding import Custom

__all__ = [
    "Accepted",
    "AgentTimeout",
    "Cancelled",
    "Checkpoint",
    "Client",
    "ClientError",
    "Complete",
    "Conflict",
    "ConnectionLost",
    "Custom",
    "Error",
    "Event",
    "EventsGone",
    "Forbidden",
    "Gap",
    "Heartbeat",
    "InputReceived",
    "InputRequested",
    "InvalidRequest",
    "InvokeResult",
    "Message",
    "NotFound",
    "PayloadTooLarge",
    "Progress",
    "ProtocolError",
    "Reasoning",
    "ResponseError",
    "Run",
    "ServerError",
    "ServiceUnavailable",
    "Started",
    "Step",
    "Stream",
    "Token",
    "TooManyRequests",
    "ToolCall",
    "ToolResult",
    "Unauthorized",
    "Usage",
    "WaitingFor",
]
