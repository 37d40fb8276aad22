"""What every run goes through: how its agent starts, and how its end is written."""

import logging
import traceback
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dockrion.caller import Caller
from dockrion.events import EventFilter
from dockrion.json_schema import Schema
from dockrion.logs import log
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome, outcome_policy
from dockrion.runs.context import RunSession
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.threads import in_thread

if TYPE_CHECKING:  # those who have no policies do without
    from dockrion.policies.output_redaction import OutputPolicy, RunTextFilter

_logger = logging.getLogger("dockrion.runs")
_MASKED_AT_ONCE = 32 * 1024  # bytes; of more than that the event loop would feel it
_MOST_TRACED = 64 * 1024  # characters


class RunSettings(msgspec.Struct, frozen=True):
    """What the Dockfile says of runs.

    Attributes:
        agent_name: The agent's name.
        framework: Its framework.
        events_filter: Which events pass.
        output_schema: What outputs are checked against, or None.
        max_run_duration: Seconds an agent may work on a run.
        max_concurrent_runs: How many agents may work at once.
        max_queued_runs: How many may wait behind them.
        max_stored_events: How many events of a run are kept.
        streamed: Whether any endpoint shows events.
        max_event_bytes: How large an event may be, and an output.
        max_emitted_events: How many events an agent may emit.
        output_policy: What agents may say, None for anything.
        tools: Which tools agents may call.
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


class RunRecorder:
    """Writes how runs begin and end: their first and last events, the metrics, the log lines.

    Args:
        settings: What the Dockfile says.
        metrics: Where runs are counted.
        redactor: Masks secrets in what is logged.
    """

    def __init__(self, settings: RunSettings, metrics: Metrics, redactor: Redactor) -> None:
        self.metadata = {"agent": settings.agent_name, "framework": settings.framework}
        self._settings = settings
        self._metrics = metrics
        self._redactor = redactor

    def accepted(self, run_id: str) -> None:
        """Note that a run waits for its slot."""
        self._metrics.active_runs.inc()
        log(_logger, logging.INFO, "run accepted", run_id=run_id)

    def over(self) -> None:
        """Note that nothing more happens to a run that was accepted."""
        self._metrics.active_runs.dec()

    def start(self, buffer: EventBuffer, caller: Caller | None) -> RunSession:
        """Write that the agent starts, and return what it emits through."""
        run_id = buffer.run_id
        buffer.publish(
            "started",
            {"agent_name": self._settings.agent_name, "framework": self._settings.framework},
            status="running",
            started_at=datetime.now(UTC),
        )
        log(_logger, logging.INFO, "run running", run_id=run_id)
        settings = self._settings
        return RunSession(run_id, settings.events_filter, buffer, caller, settings.tools)

    async def conclude(
        self,
        buffer: EventBuffer,
        result: Outcome,
        seconds: float,
        ended_at: datetime | None,
        metadata: dict[str, Any],
    ) -> Outcome:
        """Write how the run ended, its terminal event and its record together, and return it.

        Args:
            buffer: The run's.
            result: How its agent ended.
            seconds: How long that worked.
            ended_at: When it ended, None for now.
            metadata: What the record says of this run besides.
        """
        buffer.publish_held_back()
        result = await self.checked(buffer.run_id, result, buffer.text_filter)
        event_type, fields, changes = outcome.terminal(result, seconds, self.metadata | metadata)
        ended_at = ended_at or datetime.now(UTC)
        buffer.publish(event_type, fields, status=result.status, completed_at=ended_at, **changes)
        return result

    def new_text_filter(self) -> "RunTextFilter | None":
        """Return the filter for the texts of one more run, None where nothing is filtered."""
        policy = self._settings.output_policy
        return None if policy is None else policy.new_filter()

    async def checked(self, run_id: str, result: Outcome, text_filter: "RunTextFilter | None") -> Outcome:
        """Mask and fail what may not be said, and say what is wrong with an output that breaks its schema.

        The latter is returned all the same.
        """
        if text_filter is not None:
            result = await _masked(result, text_filter, run_id)
        result = outcome.within(result, self._settings.max_event_bytes)
        schema = self._settings.output_schema
        if schema is None or not isinstance(result, Completed):
            return result
        violations = schema.violations(msgspec.json.decode(result.output), len(result.output))
        if not violations:
            return result
        errors = self._redactor.mask_value(msgspec.to_builtins(violations))
        if text_filter is not None:
            errors = text_filter.mask(errors)  # they quote numbers, and what stands beside each other
        self._metrics.output_errors.inc()
        log(_logger, logging.WARNING, "output breaks io_schema.output", run_id=run_id, output_errors=errors)
        result = Completed(result.output, result.metadata | {"output_errors": errors})
        return result if text_filter is None else outcome_policy.with_violation(result, text_filter)

    def log_end(
        self, run_id: str, result: Outcome, seconds: float, text_filter: "RunTextFilter | None"
    ) -> None:
        """Log how the agent's work on a run or an invocation ended."""
        level = logging.INFO
        fields: dict[str, Any] = {"run_id": run_id, "seconds": round(seconds, 6)}
        if isinstance(result, Failed):
            level = logging.WARNING
            fields |= {"code": result.code, "reason": result.error}
            if text_filter is None or result.raised is None:
                fields["error"] = result.raised
            else:
                raised = "".join(traceback.format_exception(result.raised))
                fields["traceback"] = text_filter.mask(raised.rstrip("\n")[:_MOST_TRACED])
        elif isinstance(result, Cancelled):
            fields["reason"] = result.reason
        log(_logger, level, f"run {result.status}", **fields)


async def _masked(result: Outcome, text_filter: "RunTextFilter", run_id: str) -> Outcome:
    mask = partial(outcome_policy.filtered, result, text_filter)
    if outcome.size_of(result) > _MASKED_AT_ONCE:
        masked: Outcome = await in_thread(mask, f"dockrion-mask-{run_id}")
        return masked
    return mask()
