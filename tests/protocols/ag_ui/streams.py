"""Streams of AG-UI that a run's log becomes, and what it is made of."""

import json
from collections.abc import Sequence
from typing import Any

from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.ag_ui.positions import reopening
from dockrion.protocols.ag_ui.writer import Options
from dockrion.web.protocols.resuming import Resumption
from dockrion.wire.sse import Message
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import RUN_ID, check_encoder, log_of

NAMES = RunIds(RUN_ID, "thread-1", "their-run")
ENCODER = RunEncoder(NAMES)
ALL_ANSWERED = RunEncoder(NAMES, Options(answered=1_000))
END = {"type": "complete", "output": {"answer": "4"}, "latency_seconds": 1.0, "metadata": {}}
STARTED = {"type": "RUN_STARTED", "threadId": "thread-1", "runId": "their-run", "protocolVersion": "1.0"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "thread-1", "runId": "their-run"}
ASKED = {"type": "input_requested", "request_id": "q1", "prompt": "Send it?"}
Events = list[dict[str, Any]]


def events_of(messages: Sequence[Message]) -> Events:
    return [json.loads(each.data) for each in messages]


def stream_of(*emitted: dict[str, Any], end: dict[str, Any] | None = END) -> Events:
    """Return the events that a client gets of a run, verified."""
    found = events_of(check_encoder(ALL_ANSWERED, log_of(*emitted, end=end)))
    verify(found, ended=end is not None)
    return found


def told(*emitted: dict[str, Any]) -> Events:
    """Return what a run that goes on has added to the start of its stream."""
    first, *rest = stream_of(*emitted, end=None)
    assert first == STARTED
    return rest


def kinds(found: Events) -> list[str]:
    return [each["type"] for each in found]


def texts_of(found: Events) -> dict[str, str]:
    """Return the text of each message, as a client has it in the end."""
    texts: dict[str, str] = {}
    for each in found:
        if "messageId" in each and "delta" in each:
            texts[each["messageId"]] = texts.get(each["messageId"], "") + each["delta"]
    return texts


def token(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": content, **fields}


def said(content: Any, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **fields}


def call(call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": call_id, "name": "search", **fields}


def result(call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_call_id": call_id, **fields}


def reopening_of(encoder: RunEncoder, found: Resumption) -> bytes:
    return reopening(encoder, found.before, found.skipped)
