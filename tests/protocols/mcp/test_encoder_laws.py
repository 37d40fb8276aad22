"""The laws of encoders, and what a call's stream is, over generated logs."""

import json
from typing import Any

import pytest
from hypothesis import given
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, methods
from mcp_types.jsonrpc import jsonrpc_message_adapter

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Draining, Gap
from dockrion.protocols.mcp.encoder import CallEncoder
from dockrion.protocols.mcp.results import ResultForm, ServerInfo
from tests.protocols.logs import AT, check_encoder, encoded, log_of, logs, messages_of

LATEST = ResultForm(ServerInfo("agent", "1"))
PLAIN = CallEncoder(1, "run-1:0")
NOTIFIED = CallEncoder("x", "run-1:0", LATEST, progress_token="token", elicits=True)
ASKING = CallEncoder(3, "run-1:0", progress_token="t", elicits=True, answered=2)
ENCODERS = [PLAIN, NOTIFIED, CallEncoder(2, "run-1:0", progress_token=7, structured=True), ASKING]


def data_of(frames: bytes) -> list[Any]:
    return [json.loads(message.data) for message in messages_of(frames)]


@given(logs())
@pytest.mark.parametrize("encoder", ENCODERS, ids=["plain", "notified", "structured", "asking"])
def test_frames_are_messages_of_the_protocol_with_increasing_progress(
    encoder: CallEncoder, entries: list[Entry]
) -> None:
    messages = check_encoder(encoder, entries)
    found = [jsonrpc_message_adapter.validate_json(message.data) for message in messages]
    notified = [each for each in found if isinstance(each, JSONRPCNotification)]
    progress = [each.params or {} for each in notified if each.method == "notifications/progress"]
    numbers = [each["progress"] for each in progress]
    assert numbers == sorted(set(numbers))
    assert all(each["progressToken"] == encoder.progress_token for each in progress)
    assert all(each.get("total", 2**60) > 0 for each in progress)
    responses = [each for each in found if isinstance(each, JSONRPCResponse)]
    modern = not encoder.form.handshake
    asked = modern and encoder.elicits and any(entry.type == "input_requested" for entry in entries)
    assert len(responses) == (asked or entries[-1].type in events.TERMINAL)
    for response in responses:
        assert response.id == encoder.id
        version = "2025-11-25" if encoder.form.server is None else "2026-07-28"
        methods.validate_server_result("tools/call", version, response.result)
        result_type = "input_required" if asked else encoder.form.server and "complete"
        assert response.result.get("resultType") == result_type
    check_questions(encoder, entries, [message.data for message in messages])


def check_questions(encoder: CallEncoder, entries: list[Entry], messages: list[str]) -> None:
    """Check that each question is asked once, and withdrawn once if it is over."""
    asked, withdrawn = [], []
    for message in messages:
        match jsonrpc_message_adapter.validate_json(message):
            case JSONRPCRequest(method=method, id=found, params=params):
                assert method == "elicitation/create"
                methods.parse_server_request(method, "2025-11-25", params)
                asked.append(found)
            case JSONRPCNotification(method="notifications/cancelled", params={"requestId": found}):
                assert found in asked
                withdrawn.append(found)
    asks = encoder.form.handshake and encoder.elicits
    questions = [each.sequence for each in entries if each.type == "input_requested"]
    assert asked == [f"run-1:0:{each}" for each in questions if asks and each > encoder.answered]
    assert len(set(withdrawn)) == len(withdrawn)
    if entries[-1].type in events.TERMINAL:
        assert set(withdrawn) == set(asked)


@given(logs(ended=True))
def test_questions_that_are_answered_end_nothing(entries: list[Entry]) -> None:
    encoder = CallEncoder(1, "run-1:0", LATEST, elicits=True, answered=len(entries))
    _, state = encoded(encoder, entries)
    assert not state.ended
    assert json.loads(state.response)["result"]["resultType"] == "complete"


def test_when_a_question_is_over() -> None:
    def ask(request_id: str, minute: int | None = None) -> dict[str, Any]:
        at = None if minute is None else AT.replace(minute=minute, second=0, microsecond=0)
        return {"type": "input_requested", "request_id": request_id, "prompt": "Now?", "expires_at": at}

    def told(*emitted: dict[str, Any]) -> list[Any]:
        encoder = CallEncoder(1, "r:0", elicits=True)
        found = data_of(encoded(encoder, log_of(*emitted))[0])
        return [each.get("id") or each["params"]["requestId"] for each in found]

    step = {"type": "step", "node_name": "n"}
    received = {"type": "input_received", "request_id": "q"}
    attempt = {"type": "started", "agent_name": "a", "framework": "b", "attempt": 2}
    assert told(ask("q"), step, received, step) == ["r:0:2", "r:0:2"]
    token = {"type": "token", "content": "x"}
    assert told(ask("q"), token, token, token, received) == ["r:0:2", "r:0:2"]
    assert told(ask("p"), ask("q"), received, received) == ["r:0:2", "r:0:3", "r:0:3"]
    assert told(ask("q"), attempt, ask("q")) == ["r:0:2", "r:0:2", "r:0:4"]
    assert told(ask("q", 31), {"type": "token", "content": "x"}, step) == ["r:0:2"]
    assert told(ask("q", 30), {"type": "token", "content": "x"}, step, step) == ["r:0:2", "r:0:2"]
    assert len(told(*(ask(str(number)) for number in range(150)), attempt)) == 250


def test_text_and_failures() -> None:
    def result(*emitted: dict[str, Any], encoder: CallEncoder = PLAIN, **end: Any) -> tuple[str, bool]:
        (response,) = data_of(encoded(encoder, log_of(*emitted, end=end))[0])
        (content,) = response["result"]["content"]
        return content["text"], response["result"]["isError"]

    done: dict[str, Any] = {"type": "complete", "latency_seconds": 1.0, "metadata": {}}
    token = {"type": "token", "content": "Hi"}
    attempt = {"type": "started", "agent_name": "a", "framework": "b", "attempt": 2}
    structured = CallEncoder(1, "", structured=True)
    assert result(token, token, **done, output=1) == ("HiHi", False)
    assert result(token, {"type": "message", "role": "user", "content": "No"}, **done, output=1) == (
        "Hi",
        False,
    )
    assert result(token, attempt, **done, output={"answer": "x"}) == ("x", False)
    assert result(**done, output={"a": [1]}) == ('{"a":[1]}', False)
    assert result(**done, output=None) == ("", False)
    assert result(encoder=CallEncoder(1, "", output_path="a.b"), **done, output={"a": {"b": "x"}})[0] == "x"
    assert result(token, encoder=structured, **done, output={"a": 1}) == ('{"a":1}', False)
    assert result(encoder=structured, **done, output=[1])[1]
    broken: dict[str, Any] = done | {"metadata": {"output_errors": [{"path": "$", "message": "no"}]}}
    assert result(encoder=structured, **broken, output={"a": 1})[1]
    assert result(token, type="error", error="ValueError: no", code="MINE") == ("ValueError: no", True)
    assert result(type="cancelled", reason=None) == ("the run was cancelled", True)
    assert result(type="cancelled", reason="enough") == ("the run was cancelled: enough", True)


def test_what_an_event_is_as_progress() -> None:
    emitted: list[dict[str, Any]] = [
        {"type": "progress", "step": "s", "progress": 0.5, "message": "half"},
        {"type": "progress", "step": "s", "progress": 0.0},
        {"type": "progress", "step": "s", "progress": 5e-324},
        {"type": "step", "node_name": "node"},
        {"type": "tool_call", "tool_call_id": "c", "name": "f"},
        {"type": "input_requested", "request_id": "q", "prompt": "Now?"},
    ]
    encoder = CallEncoder(1, "", progress_token=7)
    seen = [each["params"] for each in data_of(encoded(encoder, log_of(*emitted))[0])]
    assert seen == [
        {"progressToken": 7, "progress": 1},
        {"progressToken": 7, "progress": 2, "total": 4.0, "message": "half"},
        {"progressToken": 7, "progress": 3, "message": "s"},
        {"progressToken": 7, "progress": 4, "message": "s"},
        {"progressToken": 7, "progress": 5, "message": "node"},
        {"progressToken": 7, "progress": 6, "message": "calls f"},
        {"progressToken": 7, "progress": 7, "message": "Now?"},
    ]


def test_events_without_a_message_are_notified_once_a_second() -> None:
    log = log_of(*({"type": "token", "content": "x"} for _ in range(100)))  # 60 of them at other seconds
    halves = [Entry(each.sequence, each.type, each.data, each.sequence / 2) for each in log]
    encoder = CallEncoder(1, "", progress_token=7)
    seen = [each["params"]["progress"] for each in data_of(encoded(encoder, halves)[0])]
    assert seen == list(range(2, 102, 2))
    assert encoded(PLAIN, halves)[0] == b""


def test_reply_of_which_a_part_is_lost_is_the_output() -> None:
    def after_gap(output: Any) -> dict[str, Any]:
        _, state = PLAIN.encode_gap(PLAIN.start(), Gap(1, 5))
        end = {"type": "complete", "output": output, "latency_seconds": 1.0, "metadata": {}}
        log = log_of(*({"type": "token", "content": "x"} for _ in range(6)), end=end)
        (response,) = data_of(encoded(PLAIN, log[4:], state)[0])
        return dict(response["result"])

    assert after_gap("all")["content"][0]["text"] == "all"
    assert after_gap(None)["isError"]
    data, state = PLAIN.encode_gap(PLAIN.start(), Gap(3, 1))  # another run with this id
    assert (state.ended, data_of(data)[0]["error"]["data"]) == (True, {"code": "GONE"})


def test_notices_are_errors() -> None:
    (error,) = data_of(PLAIN.encode_notice(PLAIN.start(), Draining()))
    assert (error["id"], error["error"]["code"], error["error"]["data"]) == (1, -32603, {"code": "DRAINING"})
