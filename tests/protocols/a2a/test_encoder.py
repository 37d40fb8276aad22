"""What each event of a run is in the stream of its task."""

import json
from typing import Any

import pytest

from dockrion.events.control_frames import Draining, Gap
from dockrion.protocols.a2a.encoder import StreamEncoder, TaskEncoder
from dockrion.protocols.a2a.objects import TaskIds, Version, Writer
from dockrion.protocols.a2a.updates import UpdateOptions
from tests.protocols.a2a.tasks import folded, kind_of, task_of
from tests.protocols.logs import RUN_ID, encoded, log_of, messages_of

IDS = TaskIds(RUN_ID, "context")
STARTED = {"type": "started", "agent_name": "tested", "framework": "custom"}
COMPLETE = {"type": "complete", "output": None, "latency_seconds": 0.5, "metadata": {"truncated": True}}
EMPTY: dict[str, Any] = {"id": RUN_ID, "contextId": "context", "artifacts": {}}
QUESTION = {"type": "input_requested", "request_id": "r1", "prompt": "Go?", "schema": {"type": "boolean"}}


def encoder(version: Version = "1.0", answered: int = 0) -> StreamEncoder:
    return StreamEncoder(Writer(version, IDS, 7), UpdateOptions(RUN_ID, None, answered))


def results(*emitted: dict[str, Any], version: Version = "1.0", **options: Any) -> list[dict[str, Any]]:
    """Return the updates after that of `started`."""
    frames, _ = encoded(encoder(version), log_of(*emitted, **options))
    return [json.loads(each.data)["result"] for each in messages_of(frames)][1:]


def token(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": content, **fields}


def test_reply_is_an_artifact_that_grows() -> None:
    first, second, third = results(token("a", message_id="m1"), token("b", message_id="m1"), token("c"))
    ids = {"taskId": RUN_ID, "contextId": "context"}
    artifact = {"artifactId": "reply", "name": "reply"}
    assert first == {"artifactUpdate": {**ids, "artifact": {**artifact, "parts": [{"text": "a"}]}}}
    more = {**ids, "append": True}
    assert second == {"artifactUpdate": {**more, "artifact": {**artifact, "parts": [{"text": "b"}]}}}
    assert third["artifactUpdate"]["artifact"]["parts"] == [{"text": "\n\nc"}]


def test_objects_of_version_0_3() -> None:
    text, progress, asked = results(
        token("a"), {"type": "progress", "step": "s", "progress": 0.5}, QUESTION, version="0.3"
    )
    ids = {"taskId": RUN_ID, "contextId": "context"}
    parts = [{"kind": "text", "text": "a"}]
    artifact = {"artifactId": "reply", "name": "reply", "parts": parts}
    assert text == {"kind": "artifact-update", **ids, "artifact": artifact}
    assert (progress["kind"], progress["final"], progress["status"]["state"]) == (
        *("status-update", False),
        "working",
    )
    said = {"kind": "message", "role": "agent", "messageId": "run-1:3", **ids}
    assert progress["status"]["message"] == {**said, "parts": [{"kind": "text", "text": "s"}]}
    assert (asked["final"], asked["status"]["state"]) == (True, "input-required")


STATES = [
    (COMPLETE, "COMPLETED", None),
    ({"type": "error", "error": "no", "code": "MINE"}, "FAILED", "no"),
    ({"type": "cancelled"}, "CANCELED", None),
    ({"type": "cancelled", "reason": "late"}, "CANCELED", "late"),
]


@pytest.mark.parametrize(("end", "state", "message"), STATES, ids=range(len(STATES)))
def test_ends(end: dict[str, Any], state: str, message: str | None) -> None:
    (update,) = results(end=end)
    status = update["statusUpdate"]["status"]
    assert status["state"] == f"TASK_STATE_{state}"
    assert status["timestamp"] == "2026-11-22T10:30:02.123456Z"
    assert (status["message"]["parts"] if message else None) == ([{"text": message}] if message else None)
    event = update["statusUpdate"]["metadata"]["dockrion"]
    assert event["type"] == end["type"]
    assert "output" not in event
    assert results(end=end, version="0.3")[0]["final"] is True


@pytest.mark.parametrize("output", [{"answer": "x"}, ["x"], 7, False])
@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_output_that_is_no_text_is_an_artifact(output: Any, version: Version) -> None:
    *_, update, _ = results(token("said"), end=COMPLETE | {"output": output}, version=version)
    _, shown = kind_of(update)
    (part,) = shown["artifact"]["parts"]
    assert (shown["artifact"]["artifactId"], shown["lastChunk"]) == ("output", True)
    if version == "1.0":
        assert part == {"data": output, "mediaType": "application/json"}
    elif isinstance(output, dict):
        assert part == {"kind": "data", "data": output}
    else:
        assert part == {"kind": "data", "data": {"value": output}, "metadata": {"data_part_compat": True}}


def test_text_that_is_the_output_is_the_reply() -> None:
    text, _ = results(end=COMPLETE | {"output": "It rains."})
    assert text["artifactUpdate"]["artifact"]["parts"] == [{"text": "It rains."}]
    (done,) = results(end=COMPLETE | {"output": ""})
    assert "statusUpdate" in done


def test_events_without_an_equivalent_are_in_the_metadata() -> None:
    events: list[dict[str, Any]] = [
        {"type": "tool_call", "tool_call_id": "c1", "name": "search", "arguments": {"q": 1}},
        {"type": "reasoning", "content": "hm"},
        {"type": "custom:mood", "happy": True},
        {"type": "message", "role": "user", "content": "hi"},
    ]
    updates = results(*events, {"type": "heartbeat"})
    for event, update in zip(events, updates, strict=True):
        found = update["statusUpdate"]
        assert found["status"]["state"] == "TASK_STATE_WORKING"
        assert found["metadata"]["dockrion"].items() >= event.items()
        assert not {"id", "run_id", "sequence", "timestamp"} & found["metadata"]["dockrion"].keys()


def test_reply_of_another_attempt_begins_anew() -> None:
    again = STARTED | {"attempt": 2, "previous": "worker_lost"}
    updates = results(token("a"), again, token("b"), token("c"), end=COMPLETE)
    assert folded(EMPTY, updates[:3])["artifacts"]["reply"] == [{"text": ""}]
    assert folded(EMPTY, updates)["artifacts"]["reply"] == [{"text": "bc"}]


def test_question_ends_the_stream_unless_it_is_answered() -> None:
    log = log_of(QUESTION, {"type": "input_received", "request_id": "r1", "value": True}, token("a"))
    frames, state = encoded(encoder(), log)
    assert (len(messages_of(frames)), state.ended) == (2, True)
    frames, state = encoded(encoder(answered=2), log)
    assert (len(messages_of(frames)), state.ended) == (4, False)


def test_task_that_waits_says_what_for() -> None:
    tasks = TaskEncoder(UpdateOptions(RUN_ID, None, 2**63))
    log = log_of(QUESTION, {"type": "progress", "step": "meanwhile", "progress": 0.5})
    _, snapshot = encoded(tasks, log)
    writer = Writer("1.0", IDS)
    assert task_of(snapshot, writer)["status"]["state"] == "TASK_STATE_WORKING"
    waiting = snapshot.task(writer, waiting=True)
    assert waiting["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    _, ended = encoded(tasks, log_of(QUESTION, end=COMPLETE))
    assert ended.task(writer, waiting=True)["status"]["state"] == "TASK_STATE_COMPLETED"


def test_reply_that_is_lost_comes_from_the_output() -> None:
    stream = encoder()
    frames, state = stream.encode_gap(stream.start(), Gap(2, 9))
    (lost,) = messages_of(frames)
    assert lost.id is None
    metadata = json.loads(lost.data)["result"]["statusUpdate"]["metadata"]
    assert metadata["dockrion"] == {"type": "gap", "requested": 2, "first_available": 9}
    rest = log_of(token("lost"), end=COMPLETE | {"output": "all of it"})[1:]
    updates = [json.loads(each.data)["result"] for each in messages_of(encoded(stream, rest, state)[0])]
    assert updates[0]["artifactUpdate"]["artifact"]["parts"] == [{"text": "all of it"}]
    assert "append" not in updates[0]["artifactUpdate"]
    done = messages_of(encoded(stream, log_of(end=COMPLETE)[1:], state)[0])[-1]
    status = json.loads(done.data)["result"]["statusUpdate"]["status"]
    assert status["message"]["parts"] == [{"text": "a part of the reply is no longer stored"}]


def test_streams_that_end_before_their_task_end_with_an_error() -> None:
    stream = encoder()
    (frame,) = messages_of(stream.encode_notice(stream.start(), Draining()))
    response = json.loads(frame.data)
    assert (frame.id, response["id"], response["error"]["code"]) == (None, 7, -32603)
    (info,) = response["error"]["data"]
    assert (info["reason"], info["domain"]) == ("DRAINING", "dockrion")
    frames, state = stream.encode_gap(stream.start(), Gap(9, 1))  # another run with this id
    assert state.ended
    assert json.loads(messages_of(frames)[0].data)["error"]["code"] == -32001
