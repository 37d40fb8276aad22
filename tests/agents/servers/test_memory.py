"""What a reader has passed on, or ignores, takes no memory, however long the response."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from dockrion.agents.responses import ResponseReader
from dockrion.agents.servers.a2a_reader import A2aReader
from dockrion.agents.servers.ag_ui_reader import AgUiReader
from dockrion.agents.servers.openai_readers import StreamReader
from dockrion.agents.servers.recognition import recognizing_reader_for

PIECE = "x" * 64 * 1024
BEFORE = {"type": "RUN_STARTED"}
REASONING = {"choices": [{"delta": {"reasoning": PIECE}}], "ignored": PIECE}

WORKING = {"state": "TASK_STATE_WORKING"}
UPDATE = {
    "result": {
        "statusUpdate": {"taskId": "t", "status": {**WORKING, "message": {"parts": [{"text": PIECE}]}}}
    }
}


@pytest.mark.parametrize(
    ("make", "first", "sent"),
    [
        (StreamReader, REASONING, REASONING),
        (AgUiReader, BEFORE, {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m", "delta": PIECE}),
        (AgUiReader, BEFORE, {"type": "STATE_SNAPSHOT", "snapshot": PIECE}),
        (
            lambda: A2aReader("text/event-stream"),
            {"result": {"task": {"id": "t", "status": WORKING}}},
            UPDATE,
        ),
        (lambda: recognizing_reader_for("text/event-stream"), REASONING, REASONING),
    ],
    ids=["OpenAI", "AG-UI", "states", "A2A", "recognized"],
)
def test_memory_is_bounded(make: Callable[[], ResponseReader], first: Any, sent: Any) -> None:
    reader, frame = make(), b"data: %b\n\n" % json.dumps(sent).encode()
    list(reader.feed(b"data: %b\n\n" % json.dumps(first).encode()))
    tracemalloc.start()
    try:
        for _ in range(200):
            assert len(list(reader.feed(frame))) == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(frame) < 200 * len(PIECE)
