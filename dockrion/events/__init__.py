"""What a run emits: event types, their fields and JSON, and the filter of which are emitted.

Import the names below from here. Three modules are imported by name: `control_frames`, what a
connection sends besides events, `validation`, which checks what agents emit, and `decoding`, for
those who read events. Imports only the base modules; everything that stores, sends or reads events
imports this package.
"""

from dockrion.events.encoding import Entry as Entry
from dockrion.events.encoding import encode as encode
from dockrion.events.encoding import encode_heartbeat as encode_heartbeat
from dockrion.events.encoding import own_fields as own_fields
from dockrion.events.encoding import timestamp_and_own_fields as timestamp_and_own_fields
from dockrion.events.filter import PRESETS as PRESETS
from dockrion.events.filter import EventFilter as EventFilter
from dockrion.events.types import COMMON_FIELDS as COMMON_FIELDS
from dockrion.events.types import CONFIGURABLE as CONFIGURABLE
from dockrion.events.types import CUSTOM_NAME as CUSTOM_NAME
from dockrion.events.types import CUSTOM_PREFIX as CUSTOM_PREFIX
from dockrion.events.types import EMITTED_BY_AGENTS as EMITTED_BY_AGENTS
from dockrion.events.types import ERROR_CODE as ERROR_CODE
from dockrion.events.types import MANDATORY as MANDATORY
from dockrion.events.types import MAX_EVENT_BYTES as MAX_EVENT_BYTES
from dockrion.events.types import MAX_REASON_LENGTH as MAX_REASON_LENGTH
from dockrion.events.types import MAX_SEQUENCE as MAX_SEQUENCE
from dockrion.events.types import TERMINAL as TERMINAL
from dockrion.events.types import UNTYPED_WRITES as UNTYPED_WRITES
from dockrion.events.types import Cancelled as Cancelled
from dockrion.events.types import Checkpoint as Checkpoint
from dockrion.events.types import Complete as Complete
from dockrion.events.types import Error as Error
from dockrion.events.types import Event as Event
from dockrion.events.types import Heartbeat as Heartbeat
from dockrion.events.types import InputReceived as InputReceived
from dockrion.events.types import InputRequested as InputRequested
from dockrion.events.types import Message as Message
from dockrion.events.types import PreviousEnd as PreviousEnd
from dockrion.events.types import Progress as Progress
from dockrion.events.types import Reasoning as Reasoning
from dockrion.events.types import Started as Started
from dockrion.events.types import Step as Step
from dockrion.events.types import Token as Token
from dockrion.events.types import ToolCall as ToolCall
from dockrion.events.types import ToolResult as ToolResult
from dockrion.events.types import Usage as Usage
from dockrion.events.types import Utc as Utc
from dockrion.events.types import check_custom_fields as check_custom_fields
from dockrion.events.types import custom_type as custom_type
