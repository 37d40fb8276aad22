"""A server of AG-UI as the agent: `agent.protocol: ag-ui`, with events that the `ag_ui` package encodes."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from ag_ui import core
from ag_ui.encoder import EventEncoder

from dockrion.agents.responses import ProtocolError
from dockrion.agents.servers.ag_ui_reader import AgUiReader
from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.errors import AgentFailed
from tests.agents.harness import Ended
from tests.agents.processes import JSON, SSE, Handler, ReceivedRequest, Wire, bytes_of, run_against, served
from tests.agents.servers.openai_server import PAYLOAD, endless
from tests.runs.asking import answer, waiting
from tests.support import TIMEOUT_SECONDS

AG_UI: dict[str, Any] = {"protocol": "ag-ui"}
STARTED = core.RunStartedEvent(thread_id="t", run_id="r")
LONG = "x" * 256 * 1024
FINISHED = core.RunFinishedEvent(thread_id="t", run_id="r")
_encode = EventEncoder().encode


def stream(*events: core.BaseEvent) -> bytes:
    return "".join(map(_encode, events)).encode()


def frame(**fields: Any) -> bytes:
    """Return an event that the package might refuse to write."""
    return b"data: %b\n\n" % json.dumps(fields).encode()


def text(delta: str, message_id: str = "m") -> core.BaseEvent:
    return core.TextMessageContentEvent(message_id=message_id, delta=delta)


def interrupt(**fields: Any) -> core.BaseEvent:
    asked = core.Interrupt(id="run:1", reason="input_required", **fields)
    outcome = core.RunFinishedInterruptOutcome(interrupts=[asked])
    return core.RunFinishedEvent(thread_id="t", run_id="r", outcome=outcome)


async def replied(*events: core.BaseEvent, **spec: Any) -> Ended:
    return await answered(bytes_of(SSE, stream(STARTED, *events)), **spec)


async def answered(handler: Handler, payload: Any = None, **spec: Any) -> Ended:
    return await run_against(handler, PAYLOAD if payload is None else payload, **(AG_UI | spec))


async def received(payload: Any, **spec: Any) -> core.RunAgentInput:
    """Run once, and return what the server got, as the package reads it."""
    async with served(bytes_of(SSE, stream(STARTED, FINISHED)), **(AG_UI | spec)) as (runs, made):
        assert (await runs.run(payload)).output is None
        (request,) = made.requests
        assert request.headers["accept"] == SSE
        assert not [name for name in request.headers if name.startswith("x-dockrion")]
        return core.RunAgentInput.model_validate_json(request.body)


async def test_messages_and_tools_are_sent_as_the_protocol_has_them() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    link = {"type": "image_url", "image_url": {"url": "https://h/a.png"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
    sent = await received(
        {
            "messages": [
                {"role": "system", "content": "Be brief"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "?"}, image, link, sound],
                    "name": "ann",
                },
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "x", "tool_call_id": "1"},
            ],
            "tools": [{"type": "function", "function": function}],
            "threadId": "thread",
            "state": {"count": 1},
            "context": [{"description": "d", "value": "v"}],
            "forwardedProps": {"a": 1},
            "own": 1,
        }
    )
    system, user, assistant, tool = (each.model_dump() for each in sent.messages)
    assert [each.id for each in sent.messages] == ["0", "1", "2", "3"]
    assert (system["content"], tool["content"], tool["tool_call_id"]) == ("Be brief", "x", "1")
    assert [part["type"] for part in user["content"]] == ["text", "image", "image", "audio"]
    assert [part["source"]["type"] for part in user["content"][1:]] == ["data", "url", "data"]
    assert assistant["tool_calls"][0]["function"]["name"] == "f"
    assert (sent.thread_id, sent.state, sent.forwarded_props) == ("thread", {"count": 1}, {"a": 1})
    assert [each.name for each in sent.tools or ()] == ["f"]
    assert [each.value for each in sent.context or ()] == ["v"]


async def test_a_question_is_the_users_message_and_the_run_a_thread() -> None:
    sent = await received({"q": "Rain?"}, chat=ChatSpec("q"))
    (message,) = sent.messages
    assert (message.role, message.content) == ("user", "Rain?")
    assert sent.thread_id == sent.run_id


@pytest.mark.parametrize(
    "messages",
    ["x", ["x"], [{"role": "user", "content": [{"type": "file", "file": {}}]}]],
    ids=["text", "texts", "file"],
)
async def test_messages_that_cannot_be_sent_are_refused(messages: Any) -> None:
    async with served(bytes_of(SSE, b""), **AG_UI) as (runs, made):
        assert (await runs.run({"messages": messages})).code == "VALIDATION_ERROR"
        assert made.requests == []


async def test_every_event_becomes_one_of_ours() -> None:
    usage = core.TokenUsage(model="m", input_tokens=1, output_tokens=2)
    added = {"op": "add", "path": "/a", "value": 1}
    ended = await replied(
        core.ReasoningStartEvent(message_id="r"),
        core.ReasoningMessageStartEvent(message_id="r", role="reasoning"),
        core.ReasoningMessageContentEvent(message_id="r", delta="Hm."),
        core.ReasoningMessageEndEvent(message_id="r"),
        core.ReasoningEndEvent(message_id="r"),
        core.StepStartedEvent(step_name="plan"),
        core.StepFinishedEvent(step_name="plan"),
        core.TextMessageStartEvent(message_id="m", role="assistant"),
        text("Let me"),
        text(" see."),
        core.TextMessageEndEvent(message_id="m"),
        core.ToolCallStartEvent(tool_call_id="c", tool_call_name="f", parent_message_id="m"),
        core.ToolCallArgsEvent(tool_call_id="c", delta='{"x"'),
        core.ToolCallArgsEvent(tool_call_id="c", delta=":1}"),
        core.ToolCallEndEvent(tool_call_id="c"),
        core.ToolCallResultEvent(message_id="2", tool_call_id="c", content="sun"),
        core.ToolCallChunkEvent(tool_call_id="d", tool_call_name="g", delta="["),
        core.ToolCallChunkEvent(delta="]"),
        core.StateSnapshotEvent(snapshot={"count": 1}),
        core.StateDeltaEvent.model_validate({"delta": [added]}),
        core.CustomEvent(name="own", value={"a": 1}),
        core.CustomEvent(name="on interrupt", value=7),
        core.TextMessageChunkEvent(message_id="n", role="assistant", delta="No."),
        core.RunFinishedEvent(thread_id="t", run_id="r", usage=[usage]),
    )
    assert ended.own == [
        {"type": "reasoning", "content": "Hm.", "message_id": "r"},
        {"type": "step", "node_name": "plan", "duration_ms": None, "input_keys": [], "output_keys": []},
        {"type": "token", "content": "Let me", "finish_reason": None, "message_id": "m"},
        {"type": "token", "content": " see.", "finish_reason": None, "message_id": "m"},
        {"type": "tool_call", "tool_call_id": "c", "name": "f", "arguments": {"x": 1}, "message_id": "m"},
        {
            "type": "tool_result",
            "tool_call_id": "c",
            "name": None,
            "result": "sun",
            "is_error": False,
            "duration_ms": None,
        },
        {"type": "tool_call", "tool_call_id": "d", "name": "g", "arguments": []},
        {"type": "custom:values", "data": {"count": 1}},
        {"type": "custom:state_delta", "delta": [{"op": "add", "path": "/a", "value": 1}]},
        {"type": "custom:own", "a": 1},
        {"type": "custom:on_interrupt", "value": 7},
        {"type": "token", "content": "No.", "finish_reason": None, "message_id": "n"},
        {
            "type": "usage",
            "model": "m",
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "details": None,
        },
    ]
    assert ended.output == "Let me see.\n\nNo."


async def test_the_result_is_the_output() -> None:
    result = core.RunFinishedEvent(thread_id="t", run_id="r", result={"rain": False})
    assert (await replied(text("No."), result)).output == {"rain": False}


async def test_only_what_the_assistant_says_is_shown() -> None:
    started = core.TextMessageStartEvent(message_id="u", role="user")
    ended = core.TextMessageEndEvent(message_id="u")
    assert (await replied(started, text("Rain?", "u"), ended, text("No."), FINISHED)).tokens == ["No."]


@pytest.mark.parametrize(
    ("code", "ours", "details"),
    [("TIMEOUT_ERROR", "TIMEOUT_ERROR", None), ("own-code", "AGENT_EXECUTION_ERROR", {"code": "own-code"})],
)
async def test_an_error_is_the_runs_error(code: str, ours: str, details: Any) -> None:
    ended = await replied(text("Hm"), core.RunErrorEvent(message="broken", code=code))
    assert (ended.tokens, ended.code, ended.error) == (["Hm"], ours, "broken")
    assert ended.terminal["details"] == details


async def test_a_run_that_the_server_cancels_is_cancelled() -> None:
    outcome = core.RunFinishedCancelledOutcome()
    finished = core.RunFinishedEvent(thread_id="t", run_id="r", outcome=outcome)
    assert (await replied(finished)).run.status == "cancelled"


def asking(*responses: bytes) -> Handler:
    """Answer each request with the next response."""
    left = list(responses)

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        await wire.send(left.pop(0))
        wire.close()

    return answer


async def test_a_person_is_asked_and_the_run_goes_on_with_the_answer() -> None:
    schema = {"type": "boolean"}
    first = stream(STARTED, text("Hm."), interrupt(message="Book?", response_schema=schema))
    handler = asking(first, stream(STARTED, text("Booked.", "n"), FINISHED))
    async with served(handler, **AG_UI) as (runs, made):
        run_id = await runs.start(PAYLOAD | {"threadId": "t"})
        assert (await waiting(runs, run_id, "Book?")).schema == schema
        await answer(runs, run_id, value=True)
        ended = await runs.ended(run_id)
        before, after = (core.RunAgentInput.model_validate_json(request.body) for request in made.requests)
    assert (ended.tokens, ended.output) == (["Hm.", "Booked."], "Booked.")
    assert after.resume is not None
    assert [each.model_dump(exclude_none=True) for each in after.resume] == [
        {"interrupt_id": "run:1", "status": "resolved", "payload": True}
    ]
    assert (after.thread_id, after.parent_run_id) == ("t", before.run_id)
    assert after.run_id != before.run_id
    assert after.messages == before.messages


async def test_a_question_where_nobody_can_answer_is_an_error() -> None:
    async with served(asking(stream(STARTED, interrupt(message="Book?"))), **AG_UI) as (runs, _):
        with pytest.raises(AgentFailed, match="RuntimeError"):
            await runs.invoke(PAYLOAD)


async def test_more_questions_than_a_run_can_ask_are_a_protocol_error() -> None:
    asked = [{"id": f"{number}"} for number in range(101)]
    outcome = {"type": "interrupt", "interrupts": asked}
    ended = await answered(bytes_of(SSE, frame(type="RUN_FINISHED", outcome=outcome)))
    assert (ended.code, ended.error) == (
        "AGENT_PROTOCOL_ERROR",
        "the agent's server asks more than 100 questions at once",
    )


async def test_a_question_that_nobody_answers_is_cancelled() -> None:
    first = stream(STARTED, interrupt(message="Book?", expires_at="2020-01-01T00:00:00Z"))
    async with served(asking(first, stream(STARTED, FINISHED)), **AG_UI) as (runs, made):
        ended = await runs.run(PAYLOAD)
        after = core.RunAgentInput.model_validate_json(made.requests[1].body)
    assert ended.run.status == "completed"
    assert after.resume is not None
    assert [each.status for each in after.resume] == ["cancelled"]


async def test_answers_arrive_though_another_question_has_expired() -> None:
    asked = [
        {"id": "1", "message": "Book?"},
        {"id": "2", "message": "And?", "expiresAt": "2020-01-01T00:00:00Z"},
    ]
    first = frame(type="RUN_FINISHED", outcome={"type": "interrupt", "interrupts": asked})
    async with served(asking(first, stream(STARTED, FINISHED)), **AG_UI) as (runs, made):
        run_id = await runs.start(PAYLOAD)
        await answer(runs, run_id, value=True, prompt="Book?")
        assert (await runs.ended(run_id)).run.status == "completed"
    assert made.requests[1].json["resume"] == [
        {"interruptId": "1", "status": "resolved", "payload": True},
        {"interruptId": "2", "status": "cancelled"},
    ]


async def test_a_server_that_asks_forever_is_a_protocol_error() -> None:
    asked = stream(STARTED, interrupt(message="Book?", expires_at="2020-01-01T00:00:00Z"))
    async with served(asking(*[asked] * 101), **AG_UI) as (runs, made):
        ended = await runs.run(PAYLOAD)
    assert (ended.code, made.posts) == ("AGENT_PROTOCOL_ERROR", 101)


async def test_a_cancel_closes_the_connection() -> None:
    left = asyncio.Event()

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        await wire.send(stream(STARTED, text("begun")))
        await wire.disconnected()
        left.set()

    async with served(answer, **AG_UI) as (runs, _):
        run_id = await runs.start(PAYLOAD)
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(left.wait(), TIMEOUT_SECONDS)


MALFORMED: Sequence[tuple[str, bytes]] = (
    ("no JSON", b"data: {\n\n"),
    ("no type", frame(kind="x")),
    ("number", frame(type="TEXT_MESSAGE_CONTENT", messageId="m", delta=7)),
    ("message id", frame(type="TEXT_MESSAGE_CONTENT", messageId=7, delta="x")),
    ("no tool", frame(type="TOOL_CALL_START", toolCallId="c")),
    ("no call", frame(type="TOOL_CALL_ARGS", toolCallId="c", delta="x")),
    ("no id", frame(type="TOOL_CALL_RESULT", content="x")),
    ("no step", frame(type="STEP_FINISHED")),
    ("usage", frame(type="CUSTOM", name="dockrion.usage", value={"input_tokens": -1})),
    ("own event", frame(type="CUSTOM", name="dockrion.progress", value={"x": 1})),
    ("outcome", frame(type="RUN_FINISHED", outcome={"type": "other"})),
    ("no interrupt", frame(type="RUN_FINISHED", outcome={"type": "interrupt", "interrupts": []})),
    (
        "schema",
        frame(
            type="RUN_FINISHED",
            outcome={"type": "interrupt", "interrupts": [{"id": "1", "responseSchema": {"type": 7}}]},
        ),
    ),
    ("custom type", frame(type="NOT A TYPE")),
    ("deep", b'data: {"type":"CUSTOM","value":' + b"[" * 100_000 + b"\n\n"),
    (
        "many calls",
        b"".join(frame(type="TOOL_CALL_START", toolCallId=f"{n}", toolCallName="f") for n in range(1000)),
    ),
    (
        "many messages",
        b"".join(frame(type="TEXT_MESSAGE_START", messageId=f"{n}", role="user") for n in range(1000)),
    ),
)


@pytest.mark.parametrize("data", [data for _, data in MALFORMED], ids=[name for name, _ in MALFORMED])
async def test_what_is_malformed_is_a_protocol_error(data: bytes) -> None:
    ended = await answered(bytes_of(SSE, stream(STARTED, text("a")) + data))
    assert (ended.code, ended.tokens) == ("AGENT_PROTOCOL_ERROR", ["a"])


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 2**18,
        stream(text("x" * 2**18)),
        stream(core.ToolCallChunkEvent(tool_call_id="c", tool_call_name="f", delta="x" * 2**18)),
    ],
    ids=["line", "text", "arguments"],
)
async def test_what_does_not_end_is_cut_off(piece: bytes) -> None:
    ended = await answered(endless(piece))
    assert ended.error == "the agent process sent more than 10 MiB at once"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "TOOL_CALL_START", "toolCallId": "", "toolCallName": LONG},
        {"type": "TOOL_CALL_START", "toolCallId": LONG, "toolCallName": "f"},
        {"type": "TOOL_CALL_START", "toolCallId": "", "toolCallName": "f", "parentMessageId": LONG},
        {"type": "TEXT_MESSAGE_START", "messageId": LONG, "role": "user"},
    ],
    ids=["name", "id", "message of a call", "message"],
)
def test_names_and_ids_of_what_is_open_are_cut_off(fields: dict[str, str]) -> None:
    reader, named = AgUiReader(), "toolCallId" if "toolCallId" in fields else "messageId"
    opened = [frame(**{**fields, named: f"{number}{fields[named]}"}) for number in range(50)]
    with pytest.raises(ProtocolError, match="more than 10 MiB"):
        list(reader.feed(b"".join(opened)))


async def test_a_thousand_finished_tool_calls_are_no_problem() -> None:
    calls = [
        event
        for number in range(1000)
        for event in (
            core.ToolCallStartEvent(tool_call_id=f"{number}", tool_call_name="f"),
            core.ToolCallEndEvent(tool_call_id=f"{number}"),
        )
    ]
    assert len((await replied(*calls, FINISHED)).own) == 1000


async def test_a_response_that_is_cut_off_is_an_error() -> None:
    ended = await replied(text("Once"))
    assert (ended.code, ended.error) == (
        "AGENT_DISCONNECTED",
        "the agent's server ended its response before its run",
    )


@pytest.mark.parametrize("status", ["200 OK", "307 Temporary Redirect", "422 Unprocessable Entity"])
async def test_other_responses_are_errors(status: str) -> None:
    ended = await answered(bytes_of(JSON, b'{"detail": []}', status=status))
    assert ended.code == ("AGENT_PROTOCOL_ERROR" if status.startswith("200") else "AGENT_EXECUTION_ERROR")
