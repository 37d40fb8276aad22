"""What an agent process answers, in pieces, as events and an outcome. No I/O."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from dockrion import events
from dockrion.errors import AgentDisconnected, AgentFailed
from dockrion.runs import external_events
from dockrion.runs.outcome import Failed, Outcome, of_output
from dockrion.wire.sse import Decoder

MAX_EVENT_BYTES = 10 * 1024 * 1024
_LAST_OF_OPENAI = "[DONE]"
Part = Mapping[str, Any] | Outcome


class Garbled(Exception):
    """The answer is nothing that can be understood.

    Args:
        message: What is wrong with it, fit for the caller.
    """


class Answer(Protocol):
    """Reads one answer. After an `Outcome` nothing more is looked at."""

    def feed(self, data: bytes) -> Iterator[Part]:
        """Yield the events, or the outcome, that these bytes complete.

        Raises:
            Garbled: They cannot be understood.
        """

    def end(self) -> Iterator[Part]:
        """Yield what is left of an answer that has ended, at last an outcome.

        Raises:
            Garbled: It cannot be understood.
        """


def is_known(content_type: str) -> bool:
    """Tell whether there is a reader for a media type."""
    return content_type in _MEDIA_TYPES or content_type.endswith("+json")


def reader(content_type: str) -> Answer:
    """Return what reads an answer of a media type.

    Raises:
        Garbled: Nothing does.
    """
    if is_known(content_type):
        return _MEDIA_TYPES.get(content_type, _Json)()
    raise Garbled(
        f"the agent process answered {content_type!r:.100}, not application/json, text/event-stream "
        "or application/x-ndjson"
    )


class _Json:
    """One JSON value: the output."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Part]:
        self._data += data
        _refuse_endless(len(self._data))
        return iter(())

    def end(self) -> Iterator[Part]:
        try:
            yield of_output(msgspec.json.decode(self._data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Garbled(f"the agent process's answer is not valid JSON: {error}") from error


class _EventStream:
    """Server-Sent Events (WHATWG HTML, 9.2): by name, or in the style of OpenAI's API."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._named = _Named()

    def feed(self, data: bytes) -> Iterator[Part]:
        for message in self._decoder.feed(data):
            yield from self._named.parts(message.event, message.data)
        _refuse_endless(self._decoder.pending)

    def end(self) -> Iterator[Part]:
        yield self._named.end()


class _Lines:
    """A JSON object a line, or text."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._named = _Named()

    def feed(self, data: bytes) -> Iterator[Part]:
        first, *others = data.split(b"\n")
        self._rest += first
        for line in others:
            whole = bytes(self._rest).strip()
            self._rest[:] = line
            if whole:
                yield from self._named.parts("message", whole.decode("utf-8", "replace"))
        _refuse_endless(len(self._rest))

    def end(self) -> Iterator[Part]:
        last = bytes(self._rest).decode("utf-8", "replace").strip()
        if isinstance(_json(last), dict):  # else it is half a line
            yield from self._named.parts("message", last)
        yield self._named.end()


class _Named:
    """Turns names and data into events."""

    def __init__(self) -> None:
        self._count = 0
        self._text = bytearray()  # in little more than its length, however short the pieces
        self._text_ended = False

    def parts(self, name: str, data: str) -> Iterator[Part]:
        self._count += 1
        if name == "message" and data == _LAST_OF_OPENAI:
            yield self._whole_text()
            return
        value = _json(data)
        if name == "message" and isinstance(value, dict) and "type" not in value:
            if isinstance(value.get("choices"), list):
                yield from self._openai(value["choices"])
                return
            if isinstance(value.get("error"), dict):
                yield Failed(str(value["error"].get("message")), AgentFailed.code, value["error"])
                return
        if name == "message" and not isinstance(value, dict):
            self._note(value if isinstance(value, str) else data)
        event = _event(name, value, data)
        if event["type"] != "started":  # of an agent that is a Dockrion itself
            try:
                yield external_events.read(event)
            except ValueError as error:
                raise Garbled(f"event {self._count} of the agent process: {error}") from error

    def end(self) -> Outcome:
        if self._text_ended:
            return self._whole_text()
        return Failed(
            "the agent process ended its answer without a `complete` or an `error`", AgentDisconnected.code
        )

    def _openai(self, choices: list[Any]) -> Iterator[Part]:
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else None
        reason = choice.get("finish_reason")
        text = content if isinstance(content, str) else ""
        self._note(text)
        self._text_ended = self._text_ended or isinstance(reason, str)
        if text or isinstance(reason, str):
            yield {"type": "token", "content": text, "finish_reason": reason}

    def _note(self, text: str) -> None:
        """Keep text that may be all there is of the output."""
        self._text += text.encode("utf-8", "replace")
        _refuse_endless(len(self._text))

    def _whole_text(self) -> Outcome:
        return of_output(self._text.decode())


def _event(name: Any, value: Any, data: str) -> dict[str, Any]:
    """Return an event with its type; what is no object becomes the field that the type has for it."""
    if isinstance(value, dict):
        if name == "message" and "type" in value:
            name = value["type"]
        if not isinstance(name, str):
            return value
        if name not in _KNOWN and not name.startswith(events.CUSTOM_PREFIX):
            name = events.CUSTOM_PREFIX + name
        return {**value, "type": name}
    text = value if isinstance(value, str) else data
    match name:
        case "message" | "token":
            return {"type": "token", "content": text}
        case "complete":
            return {"type": name, "output": text if value is msgspec.UNSET else value}
        case "error":
            return {"type": name, "error": text}
        case "cancelled":
            return {"type": name, "reason": text}
        case _ if name in _KNOWN:
            return {"type": name}
    return {"type": events.CUSTOM_PREFIX + name.removeprefix(events.CUSTOM_PREFIX), "data": text}


_KNOWN = frozenset({*events.CONFIGURABLE, *events.MANDATORY})


def _json(text: str) -> Any:
    """Return a JSON value, or `UNSET` where the text is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return msgspec.UNSET


def _refuse_endless(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise Garbled(f"the agent process sent more than {MAX_EVENT_BYTES // 1024**2} MiB at once")


_MEDIA_TYPES: dict[str, type[Answer]] = {
    "application/json": _Json,
    "text/event-stream": _EventStream,
    "application/x-ndjson": _Lines,
    "application/jsonl": _Lines,
}
