"""The start and the end of every run and invocation: events, records, metrics and log lines."""

import logging
import traceback
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dockrion.backends.run_log import Run
from dockrion.errors import clear_tracebacks
from dockrion.events import EventFilter
from dockrion.json_schema import Schema, Violation
from dockrion.logs import MAX_TRACEBACK, log
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome, outcome_redaction
from dockrion.runs.agent import Call
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome
from dockrion.runs.session import RunSession
from dockrion.runs.settings import RunSettings
from dockrion.runs.tracing import RunSpan
from dockrion.threads import in_thread_if_large

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter

_logger = logging.getLogger("dockrion.runs")
NO_EVENTS = EventFilter([])  # but the mandatory ones


class RunRecorder:
    """Publishes, logs and counts how runs start and end.

    Args:
        settings: What the Dockfile says.
        metrics: Counts runs.
        redactor: Masks secrets in what is logged.
        locks: Shared by all runs.

    Attributes:
        output_schema: Validates outputs, or None.
    """

    def __init__(
        self, settings: RunSettings, metrics: Metrics, redactor: Redactor, locks: NamedLocks
    ) -> None:
        self._metadata = {"agent": settings.agent_name, "framework": settings.framework}
        self.output_schema = settings.output_schema
        self._settings = settings
        self._metrics = metrics
        self._redactor = redactor
        self._locks = locks

    def new_record(self, call: Call, run_id: str, incarnation: str, *, max_attempts: int) -> Run:
        """Return the record of a run that is accepted now, not stored yet.

        Args:
            call: The request.
            run_id: Its id.
            incarnation: Its incarnation.
            max_attempts: How often it may begin.
        """
        stored, invocation = call.stored_input, call.invocation
        return Run(
            run_id=run_id,
            incarnation=incarnation,
            status="accepted",
            created_at=datetime.now(UTC),
            metadata=self._metadata,
            owner=call.caller.owner if call.caller else None,
            input=msgspec.Raw(stored.body) if stored else None,
            input_excerpt=stored.excerpt if stored else None,
            request_digest=call.request_digest,
            unlisted=invocation is not None,
            kept_seconds=invocation.kept_seconds if invocation else None,
            max_attempts=max_attempts,
            webhook_url=call.webhook_url,
            protocol=call.protocol,
            request_id=call.request.request_id,
            traceparent=call.request.traceparent,
            tracestate=call.request.tracestate,
        )

    def finished(self, run: Run, result: Outcome) -> Run:
        """Return the record of an invocation that is over now."""
        _, _, changes = outcome.terminal_event(result, 0.0, run.metadata)
        return msgspec.structs.replace(run, status=result.status, completed_at=datetime.now(UTC), **changes)

    def accepted(self, run_id: str) -> None:
        """Log that a run was created."""
        log(_logger, logging.INFO, "run accepted", run_id=run_id)

    def admitted(self, job_bytes: int) -> None:
        """Count that this process executes a run from now on, and what is kept to begin it again."""
        self._metrics.runs.active.inc()
        if job_bytes:
            self._metrics.runs.kept_payload_bytes.inc(job_bytes)

    def waited(self, run: Run) -> None:
        """Count how long a run has waited for its first attempt; when later ones were due is not known."""
        if run.attempt == 1:
            self._metrics.queue.count_wait((datetime.now(UTC) - run.created_at).total_seconds())

    def over(self, job_bytes: int) -> None:
        """Count that this process does not execute a run any more; see `admitted`."""
        self._metrics.runs.active.dec()
        if job_bytes:
            self._metrics.runs.kept_payload_bytes.dec(job_bytes)

    def start(
        self, buffer: EventBuffer, call: Call, incarnation: str, span: RunSpan | None = None
    ) -> RunSession:
        """Publish that the agent starts, and return the session that it works in.

        Args:
            buffer: The run's.
            call: What the agent works on.
            incarnation: The run's incarnation.
            span: The run's span, None if nobody follows it in a trace.
        """
        settings, run_id = self._settings, buffer.run_id
        fields = {"agent_name": settings.agent_name, "framework": settings.framework}
        if call.attempt == 1:
            buffer.publish("started", fields, status="running", started_at=datetime.now(UTC))
            log(_logger, logging.INFO, "run running", run_id=run_id)
        else:
            again: dict[str, Any] = {"attempt": call.attempt, "previous": call.previous}
            # Nobody waits for the answers to what the attempt before has asked.
            buffer.publish("started", fields | again, status="running", waiting_for=None)
            log(_logger, logging.INFO, "run running again", run_id=run_id, **again)
        if span is not None:
            span.begin(call.payload, call.attempt, call.previous)
        return RunSession(
            run_id,
            settings.events_filter if call.invocation is None else NO_EVENTS,
            buffer,
            call.caller,
            settings.tools,
            call.request,
            attempt=call.attempt,
            incarnation=incarnation,
            answerable=settings.answerable and call.invocation is None,
            locks=self._locks,
            redactor=self._redactor,
            stored_input=call.stored_input,
            span=span,
        )

    async def conclude(
        self,
        buffer: EventBuffer,
        result: Outcome,
        seconds: float,
        ended_at: datetime | None,
        metadata: dict[str, Any],
    ) -> Outcome:
        """Publish the terminal event, and return the final outcome.

        Args:
            buffer: The run's.
            result: The agent's outcome.
            seconds: How long it worked.
            ended_at: When it ended, None for now.
            metadata: Additional metadata of this run.
        """
        buffer.publish_held_back()
        result = await self.finalize(buffer.run_id, result, buffer.text_filter)
        event_type, fields, changes = outcome.terminal_event(result, seconds, self._metadata | metadata)
        ended_at = ended_at or datetime.now(UTC)
        buffer.publish(event_type, fields, status=result.status, completed_at=ended_at, **changes)
        return result

    def masked_reason(self, reason: str | None) -> str | None:
        """Return the reason of a cancel as it may be stored."""
        if reason is None:
            return None
        reason, text_filter = self._redactor.mask(reason), self.new_text_filter()
        return reason if text_filter is None else text_filter.mask(reason)

    def new_text_filter(self) -> "RunTextFilter | None":
        """Return the text filter of a new run, None without an output policy."""
        policy = self._settings.output_policy
        return None if policy is None else policy.new_filter()

    async def finalize(self, run_id: str, result: Outcome, text_filter: "RunTextFilter | None") -> Outcome:
        """Apply the output policy, the size limit and the output schema to an outcome.

        An output that violates the schema is returned all the same, with the violations.
        """
        if (usage := result.metadata.get("usage")) is not None:
            self._metrics.runs.count_tokens(self._redactor.mask_value(usage))
        if text_filter is not None:
            result = await _filtered(result, text_filter, run_id)
        result = outcome_redaction.limited(result, self._settings.max_event_bytes)
        schema = self.output_schema
        if schema is None or not isinstance(result, Completed):
            return result
        violations = _violations(schema, result)
        if violations and (output := await _with_numbers(schema, result, run_id)) is not None:
            result = msgspec.structs.replace(result, output=output)
            violations = _violations(schema, result)
        if not violations:
            return result
        errors = self._redactor.mask_value(msgspec.to_builtins(violations))
        if text_filter is not None:
            errors = text_filter.mask(errors)  # they quote parts of the output
        self._metrics.runs.output_errors.inc()
        paths = [error["path"] for error in errors]  # their messages quote the output
        log(_logger, logging.WARNING, "output breaks io_schema.output", run_id=run_id, paths=paths)
        result = Completed(result.output, result.metadata | {"output_errors": errors})
        return result if text_filter is None else outcome_redaction.with_violation(result, text_filter)

    def log_end(
        self,
        run_id: str,
        result: Outcome,
        seconds: float,
        text_filter: "RunTextFilter | None",
        redactor: Redactor,
    ) -> None:
        """Log the outcome of a run or an invocation.

        Args:
            run_id: The run.
            result: Its outcome, redacted.
            seconds: How long the agent worked.
            text_filter: Filters the run's texts, None without an output policy.
            redactor: Masks the run's secrets in the traceback.
        """
        level = logging.INFO
        fields: dict[str, Any] = {"run_id": run_id, "seconds": round(seconds, 6)}
        if isinstance(result, Failed):
            level = logging.WARNING
            fields |= {"code": result.code, "reason": result.error}
            if result.raised is None or (text_filter is None and redactor is self._redactor):
                fields["error"] = result.raised
            else:
                raised = redactor.mask("".join(traceback.format_exception(result.raised)).rstrip("\n"))
                shown = raised[:MAX_TRACEBACK]
                fields["traceback"] = shown if text_filter is None else text_filter.mask(shown)
        elif isinstance(result, Cancelled):
            fields["reason"] = result.reason
        log(_logger, level, f"run {result.status}", **fields)
        if isinstance(result, Failed):
            clear_tracebacks(result.raised)


def _violations(schema: Schema, result: Completed) -> list[Violation]:
    return schema.violations(msgspec.json.decode(result.output), len(result.output))


async def _with_numbers(schema: Schema, result: Completed, run_id: str) -> bytes | None:
    from dockrion.runs.decimals import with_numbers  # noqa: PLC0415  memory: few outputs break their schema

    convert = partial(with_numbers, schema.definition, result.output, result.returned)
    return await in_thread_if_large(convert, len(result.output), f"dockrion-numbers-{run_id}")


async def _filtered(result: Outcome, text_filter: "RunTextFilter", run_id: str) -> Outcome:
    apply = partial(outcome_redaction.filtered, result, text_filter)
    return await in_thread_if_large(apply, outcome_redaction.size_of(result), f"dockrion-mask-{run_id}")
