"""Readers of an agent process's responses in Dockrion's own protocol: bytes in, events and an outcome out.

A response is one JSON value (the output), Server-Sent Events or JSON lines. The streams carry events
by name, events by their `type` field, plain text (tokens), or chunks in the style of OpenAI's API.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from dockrion import events
from dockrion.agents.responses import Part, ProtocolError, ResponseReader, WholeReader, check_size
from dockrion.errors import AgentDisconnected, AgentFailed
from dockrion.runs import external_events
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Failed, Outcome, of_output
from dockrion.wire import ndjson, sse

_OPENAI_DONE = "[DONE]"
_UNNAMED = "message"  # the type of an SSE event without a name (WHATWG HTML, 9.2.6); also of lines
_EVENT_TYPES = frozenset({*events.CONFIGURABLE, *events.MANDATORY})


def is_supported(content_type: str) -> bool:
    """Tell whether there is a reader for a media type."""
    return content_type in _READERS or content_type.endswith("+json")


def reader_for(content_type: str) -> ResponseReader:
    """Return a reader for a response of a media type.

    Raises:
        ProtocolError: The media type is not supported.
    """
    if is_supported(content_type):
        return _READERS.get(content_type, _json_reader)()
    raise ProtocolError(
        f"the agent process sent {content_type!r:.100}, not application/json, text/event-stream "
        "or application/x-ndjson"
    )


class _SseReader:
    """Reads Server-Sent Events (WHATWG HTML, 9.2)."""

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._translator = _EventTranslator()

    def feed(self, data: bytes) -> Iterator[Part]:
        for message in self._decoder.feed(data):
            yield from self._translator.translate(message.event, message.data)
        check_size(self._decoder.pending)

    def end(self) -> Iterator[Part]:
        yield self._translator.end()


class _LinesReader:
    """Reads lines, each a JSON object or text."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._translator = _EventTranslator()

    def feed(self, data: bytes) -> Iterator[Part]:
        first, *others = data.split(b"\n")
        self._pending += first
        for start_of_next in others:
            line = bytes(self._pending).strip()
            self._pending[:] = start_of_next
            if line:
                yield from self._translator.translate(_UNNAMED, line.decode("utf-8", "replace"))
        check_size(len(self._pending))

    def end(self) -> Iterator[Part]:
        line = bytes(self._pending).decode("utf-8", "replace").strip()
        if isinstance(_parse_json(line), dict):  # else the line is incomplete
            yield from self._translator.translate(_UNNAMED, line)
        yield self._translator.end()


class _EventTranslator:
    """Translates named data to events, and collects the text that may be the whole output."""

    def __init__(self) -> None:
        self._count = 0
        self._text = bytearray()  # a list of short strings would take a multiple of their length
        self._text_complete = False

    def translate(self, name: str, data: str) -> Iterator[Part]:
        """Yield the events, or the outcome, that one message contains."""
        self._count += 1
        if name == _UNNAMED and data == _OPENAI_DONE:
            yield self._text_output()
            return
        value = _parse_json(data)
        if name == _UNNAMED and isinstance(value, dict) and "type" not in value:
            if isinstance(value.get("choices"), list):
                yield from self._openai_chunk(value["choices"])
                return
            if isinstance(value.get("error"), dict):
                yield Failed(str(value["error"].get("message")), AgentFailed.code, value["error"])
                return
        if name == _UNNAMED and not isinstance(value, dict):
            self._collect(value if isinstance(value, str) else data)
        event = _event(name, value, data)
        if event["type"] != "started":  # sent by an agent that is itself a Dockrion
            try:
                parsed = external_events.parse(event)
                yield parsed.outcome or parsed
            except ValueError as error:
                raise ProtocolError(f"event {self._count} of the agent process: {error}") from error

    def end(self) -> Outcome:
        """Return the outcome of a response that ended without one."""
        if self._text_complete:
            return self._text_output()
        message = "the agent process ended its response without a `complete` or an `error` event"
        return Failed(message, AgentDisconnected.code)

    def _openai_chunk(self, choices: list[Any]) -> Iterator[Part]:
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else None
        reason = choice.get("finish_reason")
        text = content if isinstance(content, str) else ""
        self._collect(text)
        self._text_complete = self._text_complete or isinstance(reason, str)
        if text or isinstance(reason, str):
            yield ExternalEvent("token", {"content": text, "finish_reason": reason})

    def _collect(self, text: str) -> None:
        self._text += text.encode("utf-8", "replace")
        check_size(len(self._text))

    def _text_output(self) -> Outcome:
        return of_output(self._text.decode())


def read_json(data: bytearray) -> Iterator[Part]:
    """Yield the outcome of a response that is one JSON value, the output.

    Raises:
        ProtocolError: It is malformed.
    """
    try:
        yield of_output(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the agent process's response is not valid JSON: {error}") from error


def _event(name: Any, value: Any, data: str) -> dict[str, Any]:
    """Return an event with its type; a value that is not an object becomes the type's main field.

    Args:
        name: The event's name, or `message` if it has none.
        value: The data as JSON, or `UNSET` if it is not valid JSON.
        data: The data as text.
    """
    if isinstance(value, dict):
        unnamed = name == _UNNAMED and "type" not in value
        name = value.get("type", name) if name == _UNNAMED else name
        if not isinstance(name, str):
            return value
        if unnamed or (name not in _EVENT_TYPES and not name.startswith(events.CUSTOM_PREFIX)):
            name = events.CUSTOM_PREFIX + name
        return {**value, "type": name}
    text = value if isinstance(value, str) else data
    match name:
        case "message" | "token":
            return {"type": "token", "content": text}
        case "reasoning":
            return {"type": name, "content": text}
        case "complete":
            return {"type": name, "output": text if value is msgspec.UNSET else value}
        case "error":
            return {"type": name, "error": text}
        case "cancelled":
            return {"type": name, "reason": text}
        case _ if name in _EVENT_TYPES:
            return {"type": name}
    return {"type": events.CUSTOM_PREFIX + name.removeprefix(events.CUSTOM_PREFIX), "data": text}


def _parse_json(text: str) -> Any:
    """Return a JSON value, or `UNSET` if the text is not valid JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return msgspec.UNSET


_json_reader = partial(WholeReader, read_json)
_READERS: dict[str, Callable[[], ResponseReader]] = {
    "application/json": _json_reader,
    sse.MEDIA_TYPE: _SseReader,
    ndjson.MEDIA_TYPE: _LinesReader,
    "application/jsonl": _LinesReader,
}
