"""What agent code sees of its run: the context, which emits events from any thread or event loop."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Never

from dockrion.caller import NO_REQUEST, Caller, CallerRequest
from dockrion.events import EventFilter
from dockrion.runs.asking import Asking
from dockrion.runs.emit_methods import EmitMethods
from dockrion.runs.emitter import Emitter, RunCancelled
from dockrion.runs.open_tool_call import OpenToolCall
from dockrion.runs.question import Question


class StreamContext(EmitMethods):
    """Emits the events of one run, from async code, from threads, and from sync code on an event loop.

    Each async method has a sync twin with the same arguments. An event that the filter drops
    costs next to nothing. While the buffer is full, emitting waits.

    Every emit raises `TypeError` or `ValueError` for a wrong field, `json_encoding.NotJSON` for
    a value that has no JSON form, and, in a thread, `RunCancelled` once the run was stopped. A
    sync twin on an event loop, where it cannot wait, raises `BufferError` when too many events
    are buffered.

    The service makes it; tests make a `dockrion.testing.RecordingContext`.

    Args:
        emitter: Takes the events.
        caller: The authenticated caller, or None.
        asking: Asks questions.
        request: What the agent may know of the caller's request.
        attempt: How often the agent was started for the run, this start included.
    """

    def __init__(
        self,
        emitter: Emitter,
        caller: Caller | None,
        asking: Asking,
        request: CallerRequest = NO_REQUEST,
        *,
        attempt: int = 1,
    ) -> None:
        super().__init__(emitter)
        self._attempt = attempt
        self._request = request
        self._asking = asking
        self._caller = caller

    @property
    def run_id(self) -> str:
        return self._emitter.run_id

    @property
    def cancelled(self) -> bool:
        """Whether the run was stopped: by a cancel, a time limit, or a shutdown."""
        return self._emitter.cancelled

    @property
    def events_filter(self) -> EventFilter:
        return self._emitter.events_filter

    @property
    def caller(self) -> Caller | None:
        """The authenticated caller who asked for the run; None without authentication."""
        return self._caller

    @property
    def request(self) -> CallerRequest:
        """The request that started the run: its `headers` that `agent.forward_headers` names."""
        return self._request

    @property
    def attempt(self) -> int:
        """How often the agent was started for the run, this start included; more than 1 after a lost worker.

        What earlier attempts did may have been done: see `streaming.on_worker_lost`.
        """
        return self._attempt

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if the run was stopped."""
        self._emitter.raise_if_cancelled()

    def is_tool_allowed(self, name: str) -> bool:
        """Return whether `policies.tools` lets the agent call a tool."""
        return self._emitter.tools.allows(name)

    def tool(
        self,
        name: str,
        arguments: Any = None,
        tool_call_id: str | None = None,
        *,
        message_id: str | None = None,
        source: str | None = None,
    ) -> OpenToolCall:
        """Return a block in which a tool is called; events for the call and its result or error are emitted.

        `async with context.tool("search", {"q": q}) as call: call.result = await search(q)`; in sync code
        `with`. `dockrion.tool` does the same for a function.

        Args:
            name: The tool's name.
            arguments: The whole arguments, any value that can be encoded as JSON; `{}` if None.
            tool_call_id: The call's id, unique in the run; a new one if None.
            message_id: The message in which a model asked for the call.
            source: The agent, node or branch that it comes from.

        Raises:
            ToolDenied: When the block is entered: `policies.tools` does not allow the tool.
        """
        return OpenToolCall(self._emitter, name, arguments, tool_call_id, message_id, source)

    async def ask(
        self,
        prompt: str,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  the time that a person has
        secret: bool = False,
    ) -> Any:
        """Ask a person, and wait for the answer, which a caller sends to `POST /runs/{run_id}/input`.

        Args:
            prompt: The question, as text.
            schema: JSON Schema of the answer; None accepts any JSON value. References are to its own parts.
            timeout: Seconds to wait, None for as long as the run may take.
            secret: The answer appears in no event and no record.

        Returns:
            The answer, a decoded JSON value that matches the schema.

        Raises:
            InputTimeout: There was no answer in time.
            TypeError: An argument is of the wrong type.
            ValueError: An argument is invalid: the schema is none, or prompt and schema are too large.
            RuntimeError: Nobody can answer: this is no run that callers can reach. Or too many questions are
                open already.
        """
        (answer,) = await self._asking.ask_all([Question(prompt, schema, timeout, secret)])
        return answer

    def sync_ask(
        self,
        prompt: str,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        secret: bool = False,
    ) -> Any:
        """Ask a person, and block this thread until there is the answer; see `ask`.

        Raises:
            RunCancelled: The run was stopped.
            RuntimeError: As for `ask`, or this is the event loop, which must not be blocked.
        """
        try:
            (answer,) = self._asking.ask_all_blocking([Question(prompt, schema, timeout, secret)])
        except asyncio.CancelledError as error:
            raise RunCancelled(*error.args) from None
        return answer

    async def emit_started(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent starts."""
        _refuse("started", "the agent starts")

    async def emit_complete(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent returns."""
        _refuse("complete", "the agent returns its output")

    async def emit_error(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent raises."""
        _refuse("error", "the agent raises")

    async def emit_cancelled(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the run is cancelled."""
        _refuse("cancelled", "the run is cancelled")


_current: ContextVar[StreamContext | None] = ContextVar("dockrion_context", default=None)


def get_current_context() -> StreamContext | None:
    """Return the context of the run that this code works for, or None outside a run."""
    return _current.get()


def set_current_context(context: StreamContext | None) -> None:
    """Make a context, or none, that of this task, and of all tasks and threads that it starts."""
    _current.set(context)


def _refuse(event_type: str, moment: str) -> Never:
    raise RuntimeError(f"`{event_type}` is the service's own event; it is emitted when {moment}")
