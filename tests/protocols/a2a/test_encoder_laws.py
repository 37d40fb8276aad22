"""The laws of encoders, for the streams of A2A's tasks."""

import json
from typing import Any

import pytest
from hypothesis import example, given

from dockrion.events import Entry
from dockrion.protocols.a2a.encoder import StreamEncoder, TaskEncoder
from dockrion.protocols.a2a.objects import TaskIds, Version, Writer
from dockrion.protocols.a2a.updates import UpdateOptions
from dockrion.protocols.numbered_frames import parse_cursor
from tests.protocols.a2a.tasks import folded, task_of
from tests.protocols.logs import (
    RUN_ID,
    check_encoder,
    check_resuming,
    log_of,
    logs,
    messages_of,
)

EMPTY_MESSAGE = log_of(
    {"type": "message", "role": "assistant", "content": "", "name": None, "message_id": "m"},
    {"type": "token", "content": "Hello", "message_id": "m"},
    {"type": "token", "content": "!", "message_id": "m"},
    end=None,
)
EVERY_VERSION = pytest.mark.parametrize("version", ["1.0", "0.3"])


def encoder(version: Version, answered: int = 0) -> StreamEncoder:
    writer = Writer(version, TaskIds(RUN_ID, "100% %d %s"), '"text"%s')
    return StreamEncoder(writer, UpdateOptions(RUN_ID, None, answered))


@EVERY_VERSION
@given(entries=logs(max_events=12))
def test_encoder_obeys_the_laws(version: Version, entries: list[Entry]) -> None:
    for answered in (0, 2**63):
        messages = check_encoder(encoder(version, answered), entries)
        for message in messages:
            response = json.loads(message.data)
            assert (response["jsonrpc"], response["id"]) == ("2.0", '"text"%s')
            assert ("result" in response) != ("error" in response)
    check_encoder(TaskEncoder(UpdateOptions(RUN_ID)), entries)


@EVERY_VERSION
@given(entries=logs(max_events=8))
def test_reader_goes_on_after_any_frame(version: Version, entries: list[Entry]) -> None:
    check_resuming(encoder(version), entries, lambda message: parse_cursor(message.id or "").skip)


@EVERY_VERSION
@given(entries=logs())
@example(entries=EMPTY_MESSAGE)
def test_stream_comes_to_the_task(version: Version, entries: list[Entry]) -> None:
    """At every event, a client that has folded the stream has the task that the service would return."""
    stream, tasks = encoder(version), TaskEncoder(UpdateOptions(RUN_ID))
    task: dict[str, Any] = task_of(tasks.start(), stream.writer)
    state, snapshot = stream.start(), tasks.start()
    for entry in entries:
        frames, state = stream.encode(state, (entry,))
        _, snapshot = tasks.encode(snapshot, (entry,))
        task = folded(task, [json.loads(message.data)["result"] for message in messages_of(frames)])
        assert task == task_of(snapshot, stream.writer)
        assert snapshot.stream == state
        if state.ended:
            break
