"""What the service does with a run while its agent works: the side of the context that agents do not see."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from dockrion.caller import NO_REQUEST, Caller, CallerRequest
from dockrion.errors import QuestionNotOpen
from dockrion.events import EventFilter, validation, values
from dockrion.redaction import Redactor
from dockrion.runs import process_questions
from dockrion.runs.asking import UNANSWERABLE, Asking
from dockrion.runs.context import StreamContext, set_current_context
from dockrion.runs.emitter import ENVELOPE_BYTES, emitter_for
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.filtered_buffer import MAX_FILTERED_AT_ONCE
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.process_questions import ProcessQuestions
from dockrion.runs.question import Question
from dockrion.runs.stored_input import StoredInput
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.runs.tracing import RunSpan
from dockrion.threads import finish_in_thread

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
        on_push: Called when another process has pushed events into the run.
        ended_elsewhere: Whether another process has ended the run.
    """

    __slots__ = (
        "_at_end",
        "_buffer",
        "_emitter",
        "_ended",
        "_locks",
        "_process_questions",
        "_push_order",
        "_span",
        "asking",
        "context",
        "ended_elsewhere",
        "events_filter",
        "incarnation",
        "on_push",
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
        self.on_push: Callable[[], None] | None = None
        self.ended_elsewhere = False
        self._locks = locks
        self._at_end: list[Callable[[], None]] = []
        self._buffer = buffer
        self._ended = False
        self._push_order: asyncio.Lock | None = None
        self._process_questions: ProcessQuestions | None = None
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

    async def emit_external(self, event: ExternalEvent) -> None:
        """Emit an event of another process that is not terminal.

        Raises:
            ValueError: A field is wrong.
        """
        if event.type in process_questions.EVENTS:
            await self.process_questions.handle(event.type, event.fields())
            return
        if event.type == _USAGE:
            self._emitter.usage.add(event.fields())
        await self._emitter.emit(event.type, event.fields)

    @property
    def push_order(self) -> asyncio.Lock:
        """Held while a batch is pushed, so that no other overtakes it."""
        if self._push_order is None:  # as in most runs
            self._push_order = asyncio.Lock()
        return self._push_order

    async def push(
        self, pushed: Iterable[tuple[str, dict[str, Any]]], size: int, *, asks: bool = False
    ) -> None:
        """Publish a batch of another process whole, whether or not there is room, even when cancelled.

        Args:
            pushed: Its events, as (type, validated fields).
            size: The size of the batch, in bytes.
            asks: Whether there are questions or answers among them, checked with `process_questions.check`.
        """
        try:
            if not asks:
                await self._publish_batch(pushed, size)
                return
            for event_type, group in groupby(pushed, key=itemgetter(0)):
                if event_type not in process_questions.EVENTS:
                    await self._publish_batch(group, size)
                    continue
                for _, fields in group:
                    await self.process_questions.handle(event_type, fields)
        finally:
            if self.on_push is not None:
                self.on_push()

    async def _publish_batch(self, pushed: Iterable[tuple[str, dict[str, Any]]], size: int) -> None:
        publish = partial(self._publish_all, self._emitter.observe_pushed(pushed))
        filtered = self._buffer is not None and self._buffer.text_filter is not None
        if filtered and size > MAX_FILTERED_AT_ONCE:
            await finish_in_thread(publish, f"dockrion-mask-{self.run_id}")
        else:
            publish()

    @property
    def process_questions(self) -> ProcessQuestions:
        """The questions that another process asks in its events."""
        if self._process_questions is None:  # as in most runs
            self._process_questions = ProcessQuestions(self.asking)
        return self._process_questions

    def _publish_all(self, pushed: Iterable[tuple[str, dict[str, Any]]]) -> None:
        for event_type, fields in pushed:
            if event_type == _USAGE:
                self._emitter.usage.add(fields)
            if self._buffer is not None and self.events_filter.allows(event_type):
                self._buffer.publish(event_type, fields)

    async def wait_for_room(self) -> None:
        """Wait until the buffer has room for pushed events."""
        if self._buffer is not None and self._buffer.full:
            await self._buffer.wait_for_room()

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
