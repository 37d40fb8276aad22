"""A context made by hand, for tests that call an agent's functions themselves."""

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from dockrion import events
from dockrion.caller import Caller, CallerRequest
from dockrion.events import Event, EventFilter, Token
from dockrion.events.decoding import decode
from dockrion.events.validation import BuildFields
from dockrion.redaction import Redactor
from dockrion.runs.context import StreamContext, get_current_context, set_current_context
from dockrion.runs.emitter import Emitter
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.testing.answers import MAX_EVENT_BYTES, Answers, ScriptedAsking


class RecordingContext(StreamContext):
    """A `StreamContext` without a run: it records what is emitted.

    `with RecordingContext() as context:` makes it the one that `get_current_context()` returns.

    Args:
        run_id: The id of the run.
        caller: The authenticated caller.
        headers: The headers of the request, for `request.headers`.
        allowed_events: Which events pass, as `streaming.events.allowed` has it; all by default.
        allowed_tools: The only tools that the agent may call, as `policies.tools.allowed` has it; by default
            it may call any.
        answers: The answers to `ask`, by prompt: a mapping, or a function, which may raise `InputTimeout`.
        attempt: How often the agent was started for the run, this start included.

    Attributes:
        events: What was emitted, each a struct of its type (`dockrion.events`) or a `Custom` event.
    """

    def __init__(
        self,
        run_id: str = "test",
        *,
        caller: Caller | None = None,
        headers: Mapping[str, str] | None = None,
        allowed_events: str | Iterable[str] | None = None,
        allowed_tools: Iterable[str] | None = None,
        answers: Answers | None = None,
        attempt: int = 1,
    ) -> None:
        tools = ToolPolicy(allowed_tools)
        emitter = _RecordingEmitter(run_id, EventFilter(allowed_events), None, tools, Redactor())
        request = CallerRequest.with_headers(headers)
        super().__init__(emitter, caller, ScriptedAsking(emitter, answers or {}), request, attempt=attempt)
        self.events: list[Event] = emitter.events
        self._outer: StreamContext | None = None

    @property
    def text(self) -> str:
        """The text of all `token` events."""
        return "".join(event.content for event in self.events if isinstance(event, Token))

    def cancel(self) -> None:
        """Stop the run: `cancelled` is true from now on, and every emit raises `RunCancelled`."""
        self._emitter.cancelled = True

    def __enter__(self) -> Self:
        self._outer = get_current_context()
        set_current_context(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        set_current_context(self._outer)


class _RecordingEmitter(Emitter):
    """Records events in place of publishing them, from any thread, with or without an event loop."""

    __slots__ = ("_lock", "events")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.events: list[Event] = []
        self._lock = threading.Lock()

    async def emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        self.sync_emit(event_type, build, *arguments)

    def sync_emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        self.raise_if_cancelled()
        self.emit_after_stop(event_type, build, *arguments)

    def max_bytes(self, event_type: str) -> int:
        return MAX_EVENT_BYTES if self.events_filter.allows(event_type) else 0

    def emit_after_stop(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        if not self.events_filter.allows(event_type):
            return
        fields = build(*arguments)
        with self._lock:
            sequence = len(self.events) + 1
            data = events.encode(event_type, self.run_id, sequence, datetime.now(UTC), fields)
            self.events.append(decode(event_type, data))
