"""What the service does with a run while its agent works: the side of the context that agents do not see."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

import msgspec

from dockrion.caller import NO_REQUEST, Caller, CallerRequest
from dockrion.errors import QuestionNotOpen
from dockrion.events import EventFilter, validation, values
from dockrion.redaction import Redactor
from dockrion.runs.asking import UNANSWERABLE, Asking
from dockrion.runs.context import StreamContext, set_current_context
from dockrion.runs.emitter import ENVELOPE_BYTES, emitter_for
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.process_events import ProcessEvents
from dockrion.runs.question import Question
from dockrion.runs.stored_input import StoredInput
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.runs.tracing import RunSpan

_USAGE, _REQUESTED = "usage", "input_requested"
_COUNTED_OR_REFUSED = frozenset([_USAGE, _REQUESTED])


class RunSession:
    """The service's side of a run's context.

    Args:
        run_id: The run.
        events_filter: Which events pass.
        buffer: Takes the events; None where no one can read them.
        caller: The authenticated caller, or None.
        tools: Which tools the agent may call, every one by default.
        request: What the agent may know of the caller's request.
        attempt: How often the agent was started for the run, this start included.
        incarnation: The run's incarnation, empty if there is no record of the run.
        answerable: Whether callers can answer what the agent asks.
        locks: Shared by all runs of the service; without them, `alone_in` excludes no other run.
        redactor: Masks secrets in exceptions.
        stored_input: The run's input, None if it is not stored.
        span: The run's span, None if nobody follows it in a trace.

    Attributes:
        context: The same run for agent code.
        asking: Asks questions.
        ended_elsewhere: Whether another process has ended the run.
    """

    __slots__ = (
        "_at_end",
        "_buffer",
        "_emitter",
        "_ended",
        "_from_process",
        "_locks",
        "_span",
        "asking",
        "context",
        "ended_elsewhere",
        "events_filter",
        "incarnation",
        "run_id",
    )

    def __init__(
        self,
        run_id: str,
        events_filter: EventFilter,
        buffer: EventBuffer | None,
        caller: Caller | None = None,
        tools: ToolPolicy | None = None,
        request: CallerRequest = NO_REQUEST,
        *,
        attempt: int = 1,
        incarnation: str = "",
        answerable: bool = True,
        locks: NamedLocks | None = None,
        redactor: Redactor | None = None,
        stored_input: StoredInput | None = None,
        span: RunSpan | None = None,
    ) -> None:
        self.run_id = run_id
        self.incarnation = incarnation
        self.events_filter = events_filter
        self.ended_elsewhere = False
        self._locks = locks
        self._at_end: list[Callable[[], None]] = []
        self._buffer = buffer
        self._ended = False
        self._from_process: ProcessEvents | None = None
        self._span = span
        tools, redactor = tools or ToolPolicy(), redactor or Redactor()
        self._emitter = emitter_for(span, run_id, events_filter, buffer, tools, redactor)
        asks = answerable and buffer is not None
        self.asking = Asking(self._emitter, stored_input) if asks else UNANSWERABLE
        self.context = StreamContext(self._emitter, caller, self.asking, request, attempt=attempt)

    def activate(self) -> None:
        """Make this the current run of this task, and of all tasks and threads that it starts."""
        _current.set(self)
        set_current_context(self.context)
        if self._span is not None:
            self._span.activate()

    def cancel(self) -> None:
        """Mark the run as stopped, and wake the threads that wait for room in the buffer or for an answer."""
        self._emitter.cancelled = True
        self.asking.stop()
        if self._buffer is not None:
            self._buffer.stop()

    def seal(self) -> None:
        """Accept no more events and answers: the agent has ended, or is abandoned."""
        self.asking.end()
        if self._buffer is not None:
            self._buffer.seal()
        self._ended = True
        self._call_at_end()

    @property
    def request(self) -> CallerRequest:
        """The request that started the run, at the position in its trace of the code that asks for it."""
        request = self.context.request
        if self._span is None:
            return request
        return msgspec.structs.replace(request, traceparent=self._span.current_traceparent())

    @property
    def traced(self) -> bool:
        """Whether steps and tool calls become spans, also those whose events do not pass the filter."""
        return self._span is not None and self._span.recording

    def note_conversation(self, conversation_id: str) -> None:
        """Name the conversation that the run continues, for its span."""
        if self._span is not None:
            self._span.note_conversation(conversation_id)

    @property
    def redactor(self) -> Redactor:
        """Masks secrets in the run's exceptions and log, also those that were answers."""
        return self._emitter.redactor

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call something that does not raise once the agent has ended or is abandoned; maybe at once."""
        self._at_end.append(callback)
        if self._ended:
            self._call_at_end()

    def _call_at_end(self) -> None:
        while self._at_end:
            self._at_end.pop()()

    @property
    def closed(self) -> bool:
        """Whether no more events are accepted."""
        return self._buffer is not None and self._buffer.closed

    def alone_in(self, name: str) -> AbstractAsyncContextManager[None]:
        """Return a block that only one run of the service at a time can be in; others wait for it."""
        return nullcontext() if self._locks is None else self._locks.held(name)

    @property
    def answerable(self) -> bool:
        """Whether callers can answer what the agent asks."""
        return self.asking.answerable

    async def ask_all(self, questions: Sequence[Question]) -> list[Any]:
        """Ask several questions at once, and wait for the answers to all of them; on any event loop.

        Readers see an `input_requested` event for each, in this order; the run's record shows the oldest one
        that is not answered. See `OpenQuestions.ask_all`.

        Raises:
            RuntimeError: Nobody can answer, or too many questions are open; nothing was asked.
        """
        return await self.asking.ask_all(questions)

    async def answer(self, request_id: str, value: Any, source: str | None) -> None:
        """Answer a question; see `OpenQuestions.answer`."""
        if self.asking.questions is None:
            raise QuestionNotOpen(request_id)
        await self.asking.questions.answer(request_id, value, source)

    async def emit_event(self, event: Mapping[str, Any]) -> None:
        """Emit an event: a mapping with a `type`, see `validation.is_event`."""
        if event["type"] in _COUNTED_OR_REFUSED:
            self._count_or_refuse(event)
        await self._emitter.emit(validation.type_of(event), validation.from_mapping, event)

    def sync_emit_event(self, event: Mapping[str, Any]) -> None:
        if event["type"] in _COUNTED_OR_REFUSED:
            self._count_or_refuse(event)
        self._emitter.sync_emit(validation.type_of(event), validation.from_mapping, event)

    def _count_or_refuse(self, event: Mapping[str, Any]) -> None:
        if event["type"] == _REQUESTED:
            raise ValueError("a yielded question gets no answer; use `await context.ask(…)` or `sync_ask`")
        self._emitter.usage.add(validation.from_mapping(event))

    def check_tool_call(self, event: Mapping[str, Any]) -> None:
        """Check an event that the agent yielded: whether it may call that tool, if it is a tool's call.

        Raises:
            ToolDenied: `policies.tools` does not allow the tool.
        """
        if event["type"] == "tool_call" and isinstance(name := event.get("name"), str):
            self._emitter.check_tool(name)

    @property
    def from_process(self) -> ProcessEvents:
        """The events that another process emits into the run."""
        if self._from_process is None:  # as in most runs
            emitter, buffer = self._emitter, self._buffer
            self._from_process = ProcessEvents(emitter, buffer, self.events_filter, self.asking)
        return self._from_process

    def show(self, value: Any) -> Any:
        """Return a value as JSON; one that no event can have becomes text that names its type."""
        if self._buffer is None:
            return value
        return values.shown(value, self._buffer.max_event_bytes - ENVELOPE_BYTES)

    @property
    def denied_tools(self) -> list[str]:
        """The first of the tools whose calls were denied."""
        return list(self._emitter.denied_tools)

    def deny_tool(self, name: str) -> None:
        """Record that a call of a tool was denied, and emit an event for it."""
        self._emitter.deny_tool(name)

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens that models took, by model; empty if the agent reports none."""
        return self._emitter.usage.by_model()


_current: ContextVar[RunSession | None] = ContextVar("dockrion_run", default=None)


def current_session() -> RunSession | None:
    """Return the run that this code works for, or None outside a run."""
    return _current.get()
