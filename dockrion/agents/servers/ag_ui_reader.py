"""Reader of AG-UI's events: a run of the other server becomes a part of ours."""

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec

from dockrion import events
from dockrion.agents.responses import Part, ProtocolError, check_size
from dockrion.agents.servers.ag_ui_events import Event, Outcome, interruption
from dockrion.agents.servers.tool_calls import OpenToolCall
from dockrion.errors import AgentDisconnected, AgentFailed
from dockrion.runs import external_events
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Cancelled, Failed, of_output
from dockrion.wire import sse

_OWN = "dockrion."  # the prefix of what a Dockrion sends besides the events of the protocol
_SHOWN_OWN = frozenset({"progress", "checkpoint", "usage"})
_MAX_OPEN = 256  # tool calls at a time
_CODE = re.compile(events.ERROR_CODE, re.ASCII)
_NOT_OWN = ("type", "timestamp", "rawEvent")


_decode = msgspec.json.Decoder(Event).decode
_Parts = Iterator[Part]


class AgUiReader:
    """Reads the events of a run."""

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._count = 0
        self._text = bytearray()
        self._last_message: str | None = None
        self._not_shown: set[str | None] = set()  # open messages that the assistant does not say
        self._open: dict[str, OpenToolCall] = {}
        self._open_chunks: str | None = None  # the tool call that arrives as chunks, without an end
        self._kept = 0
        self._has_usage = False

    def feed(self, data: bytes) -> _Parts:
        for message in self._decoder.feed(data):
            self._count += 1
            yield from self._read(message.data)
        check_size(self._decoder.pending)

    def end(self) -> _Parts:
        yield Failed("the agent's server ended its response before its run", AgentDisconnected.code)

    def _read(self, data: str) -> _Parts:
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ProtocolError(f"event {self._count} of the agent's server is malformed: {error}") from error
        if self._open_chunks is not None and event.type != "TOOL_CALL_CHUNK":
            yield from self._end_call(self._open_chunks)
        if (read := self._READERS.get(event.type)) is not None:
            yield from read(self, event)
        elif event.type not in _WITHOUT_CONTENT:
            fields = msgspec.json.decode(data)
            own = {name: value for name, value in fields.items() if name not in _NOT_OWN}
            yield self._custom(event.type.lower(), own)

    def _message_started(self, event: Event) -> _Parts:
        if event.role not in (None, "assistant"):
            self._keep(event.message_id or "")
            self._not_shown.add(event.message_id)
            self._require_few(self._not_shown)
        return iter(())

    def _message_ended(self, event: Event) -> _Parts:
        self._not_shown.discard(event.message_id)
        return iter(())

    def _token(self, event: Event) -> _Parts:
        text = event.text
        if not text or event.message_id in self._not_shown or event.role not in (None, "assistant"):
            return
        if self._text and event.message_id not in (None, self._last_message):
            self._text += b"\n\n"
        self._last_message = event.message_id or self._last_message
        self._text += self._keep(text)
        yield ExternalEvent("token", {"content": text, **_given(message_id=event.message_id)})

    def _reasoning(self, event: Event) -> _Parts:
        if text := event.text:
            yield ExternalEvent("reasoning", {"content": text, **_given(message_id=event.message_id)})

    def _call_started(self, event: Event) -> _Parts:
        call_id = event.tool_call_id
        if not call_id or not event.tool_call_name:
            raise ProtocolError("the agent's server calls a tool without an id or a name")
        call = self._open[call_id] = OpenToolCall(call_id, event.tool_call_name, event.parent_message_id)
        self._count_kept(call.size)
        self._require_few(self._open)
        return iter(())

    def _call_arguments(self, event: Event) -> _Parts:
        call = self._open.get(event.tool_call_id or "")
        if call is None:
            raise ProtocolError("the agent's server sent arguments of a tool call that is not open")
        call.arguments += self._keep(event.text)
        return iter(())

    def _call_chunk(self, event: Event) -> _Parts:
        call_id = event.tool_call_id or self._open_chunks
        if call_id != self._open_chunks and self._open_chunks is not None:
            yield from self._end_call(self._open_chunks)
        if call_id not in self._open:
            yield from self._call_started(event)
            self._open_chunks = call_id
        event.tool_call_id = call_id
        yield from self._call_arguments(event)

    def _call_ended(self, event: Event) -> _Parts:
        yield from self._end_call(event.tool_call_id or "")

    def _end_call(self, call_id: str) -> _Parts:
        call = self._open.pop(call_id, None)
        if call_id == self._open_chunks:
            self._open_chunks = None
        if call is None:
            return
        self._count_kept(-call.size)
        yield call.event()

    def _call_result(self, event: Event) -> _Parts:
        yield from self._end_call(event.tool_call_id or "")
        is_error = bool(event.metadata and event.metadata.get("isError") is True)
        fields = {"tool_call_id": event.tool_call_id, "result": event.content, "is_error": is_error}
        yield ExternalEvent("tool_result", fields)

    def _step(self, event: Event) -> _Parts:
        yield ExternalEvent("step", {"node_name": event.step_name})

    def _state(self, event: Event) -> _Parts:
        yield ExternalEvent("custom:values", {"data": event.snapshot})

    def _custom_event(self, event: Event) -> _Parts:
        name = event.name or ""
        own = name.removeprefix(_OWN)
        if own != name and own in _SHOWN_OWN and isinstance(event.value, dict):
            self._has_usage = self._has_usage or own == "usage"
            yield self._parsed({**event.value, "type": own})
        elif name != f"{_OWN}input_received":  # there is one of our own
            fields = event.value if isinstance(event.value, dict) else {"value": event.value}
            yield self._custom(re.sub(r"[^a-zA-Z0-9_]", "_", name), fields)

    def _custom(self, name: str, fields: dict[str, Any]) -> Part:
        hidden = [each for each in fields if each in events.COMMON_FIELDS]
        return self._parsed(
            {**({"value": fields} if hidden else fields), "type": events.CUSTOM_PREFIX + name}
        )

    def _parsed(self, value: dict[str, Any]) -> Part:
        try:
            return external_events.parse(value)
        except ValueError as error:
            raise ProtocolError(f"event {self._count} of the agent's server: {error}") from error

    def _failed(self, event: Event) -> _Parts:
        code = event.code if event.code and _CODE.fullmatch(event.code) else AgentFailed.code
        details = (event.metadata or {}).get("details")
        if details is None and event.code not in (None, code):
            details = {"code": event.code}
        yield Failed(event.message or "the agent's server reports an error", code, details)

    def _finished(self, event: Event) -> _Parts:
        for call_id in tuple(self._open):
            yield from self._end_call(call_id)
        for used in () if self._has_usage else event.usage or ():
            yield ExternalEvent("usage", msgspec.structs.asdict(used))
        outcome = event.outcome or Outcome("success")
        if outcome.type == "cancelled":
            reason = (event.metadata or {}).get("reason")
            yield Cancelled(reason[: events.MAX_REASON_LENGTH] if isinstance(reason, str) else None)
        elif outcome.type == "interrupt" and outcome.interrupts:
            yield interruption(outcome.interrupts)
        elif outcome.type == "success":
            yield of_output(self._text.decode() if event.result is None and self._text else event.result)
        else:
            raise ProtocolError(f"the agent's server finished with the outcome {outcome.type!r:.100}")

    def _keep(self, text: str) -> bytes:
        data = text.encode("utf-8", "replace")
        self._count_kept(len(data))
        return data

    def _count_kept(self, size: int) -> None:
        self._kept += size
        check_size(self._kept)

    def _require_few(self, opened: Any) -> None:
        if len(opened) > _MAX_OPEN:
            raise ProtocolError(f"the agent's server has more than {_MAX_OPEN} tool calls or messages open")

    _READERS: ClassVar[dict[str, Callable[["AgUiReader", Event], _Parts]]] = {
        "TEXT_MESSAGE_START": _message_started,
        "TEXT_MESSAGE_CONTENT": _token,
        "TEXT_MESSAGE_CHUNK": _token,
        "TEXT_MESSAGE_END": _message_ended,
        "REASONING_MESSAGE_CONTENT": _reasoning,
        "REASONING_MESSAGE_CHUNK": _reasoning,
        "THINKING_TEXT_MESSAGE_CONTENT": _reasoning,
        "TOOL_CALL_START": _call_started,
        "TOOL_CALL_ARGS": _call_arguments,
        "TOOL_CALL_CHUNK": _call_chunk,
        "TOOL_CALL_END": _call_ended,
        "TOOL_CALL_RESULT": _call_result,
        "STEP_FINISHED": _step,
        "STATE_SNAPSHOT": _state,
        "CUSTOM": _custom_event,
        "RUN_ERROR": _failed,
        "RUN_FINISHED": _finished,
    }


_WITHOUT_CONTENT = frozenset(
    {
        *("RUN_STARTED", "STEP_STARTED", "REASONING_START", "REASONING_END", "REASONING_MESSAGE_START"),
        *("REASONING_MESSAGE_END", "REASONING_ENCRYPTED_VALUE", "THINKING_START", "THINKING_END"),
        *("THINKING_TEXT_MESSAGE_START", "THINKING_TEXT_MESSAGE_END"),
    }
)


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}
