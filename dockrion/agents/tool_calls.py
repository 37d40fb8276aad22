"""Translation of tool calls to events: what models request, what tools return, and how long they take."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, ToolMessage

from dockrion.runs import outcome_redaction
from dockrion.runs.session import RunSession
from dockrion.runs.tool_policy import ToolDenied

Event = dict[str, Any]
_Value = TypeVar("_Value")
_MAX_REMEMBERED = 1000  # calls of one run
_INVALID_ARGUMENTS = "the arguments are not a JSON object"


class _ToolCall(msgspec.Struct, eq=False):
    """A call without a result so far.

    Attributes:
        call_id: Its id.
        name: The tool's name.
        arguments: What the tool is called with.
        source: Who called it.
        requested: Whether a model requested it.
        started_at: When the tool began to work, None if it does not work.
        error: The message of the exception that the tool raised last, if it did.
        duration_ms: How long the tool worked last.
    """

    call_id: str
    name: str
    arguments: Any
    source: str | None
    requested: bool
    started_at: float | None = None
    error: str | None = None
    duration_ms: float | None = None

    def stop_clock(self) -> None:
        if self.started_at is not None:
            self.duration_ms = (time.perf_counter() - self.started_at) * 1000
            self.started_at = None


class ToolCallTranslator:
    """Translates what models request and what tools do to one `tool_call` and one `tool_result` per call.

    A tool that raises has no result yet if a model requested the call: the framework may answer the
    model with a message, or let the tool try again. The result is that message or, if none follows,
    the exception's.

    Args:
        session: The run. It tells which tools are denied, and what callers may see of values and errors.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._requested: dict[str, _ToolCall] = {}
        self._running: dict[str, _ToolCall] = {}
        self._answered: dict[str, None] = {}  # an ordered set: messages that repeat their results may follow

    def requested(self, message: AIMessage, source: str | None) -> Iterator[Event]:
        """Yield the events of the calls that a whole message requests."""
        for request in message.tool_calls:
            call = _requested_call(request, source)
            if not self._session.context.is_tool_allowed(call.name):
                call.error = str(ToolDenied(call.name))
            _remember(self._requested, call.call_id, call)
            self._answered.pop(call.call_id, None)
            yield self._call_event(call, message.id)
        for invalid in message.invalid_tool_calls:
            call = _requested_call(invalid, source)
            yield self._call_event(call, message.id)
            yield self._result_event(call, invalid.get("error") or _INVALID_ARGUMENTS, is_error=True)

    def started(self, execution: str, name: str, arguments: Any, source: str | None) -> Iterator[Event]:
        """Yield the event of a call that no model requested, as its tool begins to work.

        Args:
            execution: Identifies this execution of the tool: the id of the call, where it is known.
            name: The tool's name.
            arguments: What it is called with.
            source: Who calls it.
        """
        if not self._session.context.is_tool_allowed(name):
            return
        call = self._requested.get(execution) or self._find_request(name, arguments)
        if call is None:
            call = _ToolCall(execution, name, arguments, source, requested=False)
            yield self._call_event(call, None)
        call.started_at = time.perf_counter()
        self._running[execution] = call

    def returned(self, execution: str, output: Any) -> Iterator[Event]:
        """Yield the result of a call, as its tool returns."""
        call = self._running.pop(execution, None)
        if call is None:
            return
        call.stop_clock()
        message = _find_message(output, call.call_id)
        if call.requested or message is not None:
            self._settle(call)
        if message is not None:
            yield self._message_event(call, message)
        else:
            yield self._result_event(call, _without_command(output))

    def raised(self, execution: str, error: str) -> Iterator[Event]:
        """Yield the result of a call whose tool raised, if no model requested it."""
        call = self._running.pop(execution, None)
        if call is None:
            return
        call.stop_clock()
        call.error = outcome_redaction.sanitized(error, self._session.redactor)
        if not call.requested:
            self._settle(call)
            yield self._result_event(call, call.error, is_error=True)

    def answered(self, message: ToolMessage, source: str | None) -> Iterator[Event]:
        """Yield the result that a message contains, unless it repeats one."""
        call_id = message.tool_call_id
        if call_id in self._answered:
            del self._answered[call_id]
            return
        call = self._requested.pop(call_id, None)
        if call is None:
            call = _ToolCall(call_id, message.name or "", None, source, requested=False)
        call.stop_clock()
        yield self._message_event(call, message)

    def close(self) -> Iterator[Event]:
        """Yield the results of the calls that no message answered as their tools raised or are denied."""
        for call in list(self._requested.values()):
            if call.error is not None:
                del self._requested[call.call_id]
                yield self._result_event(call, call.error, is_error=True)

    def _call_event(self, call: _ToolCall, message_id: str | None) -> Event:
        event = {
            "type": "tool_call",
            "tool_call_id": call.call_id,
            "name": call.name,
            "arguments": self._session.show(call.arguments),
        }
        return event | given(message_id=message_id, source=call.source)

    def _message_event(self, call: _ToolCall, message: ToolMessage) -> Event:
        return self._result_event(call, message.content, is_error=message.status == "error")

    def _result_event(self, call: _ToolCall, result: Any, *, is_error: bool = False) -> Event:
        event = {
            "type": "tool_result",
            "tool_call_id": call.call_id,
            "result": self._session.show(result),
            "is_error": is_error,
        }
        return event | given(name=call.name or None, duration_ms=call.duration_ms, source=call.source)

    def _find_request(self, name: str, arguments: Any) -> _ToolCall | None:
        """Return the request that code executes without telling its id."""
        for call in self._requested.values():
            if call.started_at is None and call.name == name and _are_equal(call.arguments, arguments):
                return call
        return None

    def _settle(self, call: _ToolCall) -> None:
        self._requested.pop(call.call_id, None)
        _remember(self._answered, call.call_id, None)


class ToolHandler(BaseCallbackHandler):
    """Reports the calls of tools to a run that is traced, where they are not streamed.

    Args:
        session: The run.
    """

    run_inline = True  # LangChain would use a thread
    ignore_llm = ignore_chat_model = ignore_chain = ignore_retriever = True
    ignore_retry = ignore_custom_event = True

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._tools = ToolCallTranslator(session)

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: uuid.UUID,
        inputs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._emit(self._tools.started(str(run_id), serialized["name"], inputs or input_str, None))

    def on_tool_end(self, output: Any, *, run_id: uuid.UUID, **_: Any) -> None:
        self._emit(self._tools.returned(str(run_id), output))

    def on_tool_error(self, error: BaseException, *, run_id: uuid.UUID, **_: Any) -> None:
        self._emit(self._tools.raised(str(run_id), str(error)))

    def _emit(self, events: Iterator[Event]) -> None:
        for event in events:
            self._session.sync_emit_event(event)


def _requested_call(request: Mapping[str, Any], source: str | None) -> _ToolCall:
    call_id = request.get("id") or uuid.uuid4().hex  # some models give none
    return _ToolCall(call_id, request.get("name") or "", request.get("args"), source, requested=True)


def _remember(calls: dict[str, _Value], call_id: str, value: _Value) -> None:
    """Add to what is remembered of calls, and forget the oldest above the limit."""
    calls[call_id] = value
    if len(calls) > _MAX_REMEMBERED:
        del calls[next(iter(calls))]


def _find_message(output: Any, call_id: str) -> ToolMessage | None:
    """Return the message to the model in what a tool returned: itself, in a list, or in a `Command`."""
    if isinstance(output, ToolMessage):
        return output
    update = _without_command(output)
    if update is not output and isinstance(update, Mapping):
        update = update.get("messages")  # which may be the whole conversation
    if not isinstance(update, list | tuple):
        return None
    own = [item for item in update if isinstance(item, ToolMessage) and item.tool_call_id == call_id]
    return own[-1] if own else None


def _without_command(output: Any) -> Any:
    """Return the update in a `Command` of LangGraph, which a tool may return in place of its result."""
    return output.update if hasattr(output, "goto") and hasattr(output, "update") else output


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays, for example, have no truth value
        return False


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
