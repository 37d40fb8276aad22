"""The settings of the engine, by the Dockfile, which the engine does not know."""

from typing import TYPE_CHECKING

from dockrion.dockfile import Dockfile
from dockrion.events import EventFilter
from dockrion.json_schema import Schema
from dockrion.runs.settings import RunSettings
from dockrion.runs.tool_policy import ToolPolicy

if TYPE_CHECKING:
    from dockrion.policies.output_redaction import OutputPolicy


def run_settings(
    dockfile: Dockfile,
    output_schema: Schema | None,
    output_policy: "OutputPolicy | None",
    tools: ToolPolicy,
    *,
    runs_agents: bool,
) -> RunSettings:
    """Return the settings of the engine.

    Args:
        dockfile: The Dockfile.
        output_schema: Validates outputs, or None.
        output_policy: What agents' texts may contain, None for anything.
        tools: Which tools agents may call.
        runs_agents: Whether agents run in this process.
    """
    streaming = dockfile.streaming
    return RunSettings(
        agent_name=dockfile.agent.name,
        framework=dockfile.agent.framework or "",
        events_filter=EventFilter(streaming.events.allowed),
        output_schema=output_schema,
        max_run_duration=streaming.events.max_run_duration,
        max_concurrent_runs=streaming.max_concurrent_runs if runs_agents else 0,
        max_queued_runs=streaming.max_queued_runs,
        max_stored_events=streaming.redis.max_events_per_run,
        streamed=dockfile.expose.streams,
        max_event_bytes=dockfile.limits.max_event_bytes,
        max_emitted_events=dockfile.limits.max_events_per_run,
        output_policy=output_policy,
        tools=tools,
        waiting_counts=streaming.events.waiting_counts,
        answerable=streaming.async_runs,
        max_attempts=streaming.attempts,
    )
