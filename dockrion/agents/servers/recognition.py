"""Recognition of what a server speaks by what it responds, where `agent.protocol` does not say it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dockrion.agents.responses import Part, ResponseReader, WholeReader, check_size
from dockrion.agents.servers.dockrion_readers import read_json, reader_for
from dockrion.wire import sse

_JSON = "application/json"


def recognizing_reader_for(content_type: str) -> ResponseReader:
    """Return a reader that takes a response of OpenAI's or of AG-UI's for what it is.

    Raises:
        ProtocolError: The media type is not supported.
    """
    if content_type == sse.MEDIA_TYPE:
        return _StreamRecognizer()
    return WholeReader(_read_json) if content_type == _JSON else reader_for(content_type)


class _StreamRecognizer:
    """Reads a stream as its first message demands."""

    def __init__(self) -> None:
        self._reader: ResponseReader | None = None
        self._decoder = sse.Decoder()
        self._beginning = bytearray()

    def feed(self, data: bytes) -> Iterator[Part]:
        if self._reader is None:
            self._beginning += data
            messages = self._decoder.feed(data)
            if not messages:
                check_size(len(self._beginning))
                return
            self._reader = _reader_of(messages[0])
            data = bytes(self._beginning)
            self._beginning.clear()
        yield from self._reader.feed(data)

    def end(self) -> Iterator[Part]:
        return (self._reader or reader_for(sse.MEDIA_TYPE)).end()


def _read_json(data: bytearray) -> Iterator[Part]:
    """Read an output, or a chat completion."""
    if b'"chat.completion"' in data and _object(data).get("object") == "chat.completion":
        from dockrion.agents.servers.openai_readers import read_completion  # noqa: PLC0415  memory

        return read_completion(data)
    return read_json(data)


def _reader_of(message: sse.Message) -> ResponseReader:
    first = _object(message.data) if message.event == "message" else {}
    if "type" not in first and isinstance(first.get("choices"), list):
        from dockrion.agents.servers.openai_readers import StreamReader  # noqa: PLC0415  memory

        return StreamReader()
    if first.get("type") == "RUN_STARTED":
        from dockrion.agents.servers.ag_ui_reader import AgUiReader  # noqa: PLC0415  memory

        return AgUiReader()
    return reader_for(sse.MEDIA_TYPE)


def _object(data: bytearray | str) -> dict[str, Any]:
    """Return a JSON object; an empty one if the data is anything else."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
