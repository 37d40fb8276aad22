"""The settings of the engine: the limits of runs, and what agents may do in them."""

from typing import TYPE_CHECKING

import msgspec

from dockrion.events import EventFilter
from dockrion.json_schema import Schema
from dockrion.runs.tool_policy import ToolPolicy

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import OutputPolicy


class RunSettings(msgspec.Struct, frozen=True):
    """Settings of the engine.

    Attributes:
        agent_name: The agent's name.
        framework: Its framework.
        events_filter: Which events pass.
        output_schema: Validates outputs, or None.
        max_run_duration: Seconds that an agent may work on a run.
        max_concurrent_runs: How many agents may work at once; 0 in a process that leaves them to others.
        max_queued_runs: How many runs may wait for a slot.
        max_stored_events: How many events of a run the backend holds.
        streamed: Whether any endpoint shows events.
        max_event_bytes: The size limit of an event, and of an output.
        max_emitted_events: How many events an agent may emit in a run.
        output_policy: What agents' texts may contain, None for anything.
        tools: Which tools agents may call.
        waiting_counts: Whether `max_run_duration` includes the time in which agents wait for answers.
        answerable: Whether any endpoint accepts answers.
        max_attempts: How often a run may begin: more than once if another process takes over after a loss.
    """

    agent_name: str
    framework: str
    events_filter: EventFilter
    output_schema: Schema | None
    max_run_duration: float
    max_concurrent_runs: int
    max_queued_runs: int
    max_stored_events: int
    streamed: bool
    max_event_bytes: int
    max_emitted_events: int
    output_policy: "OutputPolicy | None"
    tools: ToolPolicy
    waiting_counts: bool = True
    answerable: bool = True
    max_attempts: int = 1
