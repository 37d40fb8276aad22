"""The events of AG-UI as JSON."""

from typing import Any, Literal

import msgspec

from dockrion.protocols.numbered_frames import text_format

PROTOCOL_VERSION = "1.0"
MessageKind = Literal["text", "reasoning"]
_CONTENT = {"text": "TEXT_MESSAGE_CONTENT", "reasoning": "REASONING_MESSAGE_CONTENT"}
_encoder = msgspec.json.Encoder()


def event(event_type: str, **fields: Any) -> bytes:
    """Return an event as one line of JSON; a `msgspec.Raw` among the fields is JSON already."""
    return _encoder.encode({"type": event_type, **fields})


class RunIds(msgspec.Struct, frozen=True):
    """The ids in the events of an AG-UI run.

    Attributes:
        log_id: The run of this service.
        thread_id: The caller's thread.
        run_id: The caller's run.
    """

    log_id: str
    thread_id: str
    run_id: str

    @property
    def run_started(self) -> bytes:
        """The event that begins the run."""
        ids = {"threadId": self.thread_id, "runId": self.run_id}
        return event("RUN_STARTED", **ids, protocolVersion=PROTOCOL_VERSION)


def message_started(kind: MessageKind, message_id: str, name: str | None = None) -> list[bytes]:
    """Return the events that open a message."""
    if kind == "reasoning":
        return [
            event("REASONING_START", messageId=message_id),
            event("REASONING_MESSAGE_START", messageId=message_id, role="reasoning"),
        ]
    named = {} if name is None else {"name": name}
    return [event("TEXT_MESSAGE_START", messageId=message_id, role="assistant", **named)]


def message_ended(kind: MessageKind, message_id: str) -> list[bytes]:
    """Return the events that close a message."""
    names = ["REASONING_MESSAGE_END", "REASONING_END"] if kind == "reasoning" else ["TEXT_MESSAGE_END"]
    return [event(name, messageId=message_id) for name in names]


def delta_format(kind: MessageKind, message_id: str) -> bytes:
    """Return the format of the frames that continue a message, see `text_format`."""
    beginning = event(_CONTENT[kind], messageId=message_id).removesuffix(b"}")
    return text_format(beginning + b',"delta":', b"}")
