"""What the engine tells whoever follows runs in traces; it knows nothing of how traces are made."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from dockrion.backends.pages import PAGE_EVENTS
from dockrion.backends.run_log import Run, RunLog
from dockrion.caller import CallerRequest
from dockrion.errors import BackendError, DockrionError
from dockrion.events import Entry
from dockrion.redaction import Redactor

_MAX_RECALLED_PAGES = 20


class RunSpan(Protocol):
    """The span of a run or an invocation, while this process executes it.

    Its methods may be called from any thread, and do not raise.
    """

    @property
    def recording(self) -> bool:
        """Whether the run is sampled: only then is it told of more than `activate`."""

    def activate(self) -> None:
        """Make it the current span of this task, and of all tasks and threads that it starts."""

    def current_traceparent(self) -> str | None:
        """Return the position of the span in which the calling code works for the run."""

    def recall(self, entries: Sequence[Entry]) -> None:
        """Note what earlier attempts of the run have emitted; their steps and tool calls have their spans."""

    def begin(self, payload: Any, attempt: int, previous: str | None) -> None:
        """Note that the agent begins to work.

        Args:
            payload: What it works on.
            attempt: How often it was started for the run, this start included.
            previous: Why the attempt before ended, None for the first.
        """

    @property
    def content_bytes(self) -> int:
        """How much of a tool's arguments or result it shows, 0 if nothing."""

    def note_conversation(self, conversation_id: str) -> None:
        """Note which conversation the run continues."""

    def mask_with(self, redactor: Redactor) -> None:
        """Mask also what another redactor masks, from now on."""

    def observe(self, event_type: str, fields: Mapping[str, Any], *, nested: bool) -> None:
        """Note an event of the agent, whether or not the filter passes it.

        Args:
            event_type: Its type.
            fields: Its own fields, validated.
            nested: Whether the code that emits it works for the run, so that its current span is one of it.
        """

    def enter_tool_call(self, tool_call_id: str) -> Callable[[], None] | None:
        """Make the span of a tool's call, which was observed, the current one; return what undoes that."""

    def cancel(self, reason: str | None) -> None:
        """Note that a cancel was requested."""

    def end_or_discard(self, run: Run) -> None:
        """End it, and all spans in it, if this process has ended the run; otherwise another one will.

        Args:
            run: The record as this process stored it last.
        """


class RunTracer(Protocol):
    """Follows runs in traces. Its methods do not raise."""

    def accept(self, request: CallerRequest, run: Run) -> tuple[RunSpan, CallerRequest, Run]:
        """Choose the place of a new run in the trace of its request.

        Args:
            request: The request that creates it.
            run: Its record, not stored yet.

        Returns:
            Its span, the request as the agent and what it calls see it, and the record to store.
        """

    def resume(self, request: CallerRequest, run: Run) -> RunSpan:
        """Return the span of a run that another process has accepted, or that is begun again.

        Args:
            request: As returned by `accept`.
            run: Its record.
        """

    def end(self, run: Run) -> None:
        """End the span of a run that has ended without being executed by this process.

        Args:
            run: The finished record.
        """


async def recall_attempts(span: RunSpan, log: RunLog, run: Run) -> None:
    """Show a span what earlier attempts of its run have emitted, as far as the log has it.

    Args:
        span: The span.
        log: Stores the run.
        run: Its record.
    """
    if not span.recording:
        return
    after = 0
    with suppress(BackendError, DockrionError, msgspec.MsgspecError):
        for _ in range(_MAX_RECALLED_PAGES):
            if after >= run.last_sequence:
                return
            page = await log.read(run.run_id, after, PAGE_EVENTS, run.incarnation)
            if not page.entries:
                return
            span.recall(page.entries)
            after = page.entries[-1].sequence
