"""A server with OpenAI's Chat Completions API as the agent: `agent.protocol: openai`."""

import asyncio
import json
from typing import Any

import pytest

from dockrion.dockfile.agent_structs import ChatSpec
from tests.agents.harness import bench
from tests.agents.processes import JSON, SSE, ReceivedRequest, Wire, bytes_of, process, remote, served
from tests.agents.servers.openai_server import (
    MODEL,
    OPENAI,
    PAYLOAD,
    STOP,
    answered,
    answered_json,
    choices,
    chunk,
    delta,
    frame,
    replied,
    stream,
)
from tests.support import TIMEOUT_SECONDS

TOKEN = "sk-a-key-that-nobody-guesses"
QUESTION = [{"role": "user", "content": "Rain?"}]


async def received(payload: Any, **spec: Any) -> ReceivedRequest:
    """Run once, and return the request that the server got."""
    body = stream(*choices(delta(content="No"), STOP))
    async with served(bytes_of(SSE, body), **(OPENAI | spec)) as (runs, made):
        assert (await runs.run(payload)).output == "No"
        (request,) = made.requests
        return request


async def test_request_is_a_streamed_chat_completion_with_the_key() -> None:
    request = await received(PAYLOAD | {"model": "dearer", "n": 9, "temperature": 2}, token=TOKEN)
    assert request.json == {
        "model": MODEL,
        "messages": QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == JSON
    assert request.headers["accept"] == "text/event-stream, application/json"
    assert not [name for name in request.headers if name.startswith("x-dockrion")]


async def test_without_a_key_none_is_sent() -> None:
    assert "authorization" not in (await received(PAYLOAD)).headers


@pytest.mark.parametrize("payload", [{"question": "Rain?"}, "Rain?"], ids=["field", "text"])
async def test_a_question_is_the_users_message(payload: Any) -> None:
    assert (await received(payload, chat=ChatSpec("question"))).json["messages"] == QUESTION


async def test_messages_and_tools_are_sent_as_they_are() -> None:
    messages = [{"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "x"}], "own": [1]}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    sent = {"messages": messages, "tools": tools, "tool_choice": "auto"}
    request = (await received(sent | {"question": "?"}, chat=ChatSpec("question"))).json
    assert {name: request[name] for name in sent} == sent


async def test_settings_are_those_that_the_schema_names() -> None:
    schema: dict[str, Any] = {
        "properties": {"messages": {}, "temperature": {}, "own": {}, "n": {}, "stream": {}}
    }
    payload = PAYLOAD | {"temperature": 0, "own": 1, "n": 2, "stream": False, "top_p": 1}
    request = (await received(payload, schema=schema)).json
    assert request.keys() == {"model", "messages", "stream", "stream_options", "temperature"}
    assert request["stream"] is True


@pytest.mark.parametrize("payload", [{}, {"messages": []}, {"messages": ["x"]}, {"q": 1}, 7, None], ids=str)
async def test_a_payload_without_messages_is_refused(payload: Any) -> None:
    async with served(bytes_of(SSE, b""), **OPENAI) as (runs, made):
        ended = await runs.run(payload)
        assert (ended.code, ended.error) == (
            "VALIDATION_ERROR",
            "this agent is a chat model: send `messages`",
        )
        assert made.requests == []


async def test_reply_becomes_tokens_reasoning_usage_and_the_output() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": None,
    }
    ended = await replied(
        *choices(
            delta(role="assistant", content="", refusal=None),
            delta(reasoning_content="Clouds"),
            delta(reasoning=" are gone.", reasoning_content=None),
            delta(content="N"),
            delta(content="ö") | {"index": None},  # as some servers write it
        ),
        chunk(STOP, usage={"prompt_tokens": 1}),
        chunk(usage=usage),
    )
    assert ended.own == [
        {"type": "reasoning", "content": "Clouds"},
        {"type": "reasoning", "content": " are gone."},
        {"type": "token", "content": "N", "finish_reason": None},
        {"type": "token", "content": "ö", "finish_reason": None},
        {"type": "token", "content": "", "finish_reason": "stop"},
        {
            "type": "usage",
            "model": "some-model-2",
            "input_tokens": 3,
            "output_tokens": 2,
            "total_tokens": 5,
            "details": {"input_token_details": {"cached_tokens": 1}},
        },
    ]
    assert ended.output == "Nö"
    assert ended.terminal["metadata"]["usage"]["some-model-2"]["total_tokens"] == 5


def call(index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = "") -> Any:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        pytest.param(
            [
                [call(0, "a", "f")],
                [call(0, None, None, '{"x"')],
                [call(0, None, None, ": 1}"), call(1, "b", "g", "{")],
                [call(1, "", "", "}")],
            ],
            [("a", "f", {"x": 1}), ("b", "g", {})],
            id="in pieces",
        ),
        pytest.param(
            [
                [call(0, "a", "f", "{"), call(1, "b", "g", "[")],
                [call(0, None, None, "}"), call(1, arguments="]")],
            ],
            [("a", "f", {}), ("b", "g", [])],
            id="interleaved",
        ),
        pytest.param(
            [[call(0, "a", "f", "{}")], [call(0, "b", "g", "{}")]],
            [("a", "f", {}), ("b", "g", {})],
            id="all numbered 0",
        ),
        pytest.param(
            [[call(None, "a", "f", "{")], [call(None, arguments="}"), call(None, "b", "g")]],
            [("a", "f", {}), ("b", "g", {})],
            id="without indexes",
        ),
        pytest.param(
            [[call(0, None, "f", {"x": 1})]], [("call_0", "f", {"x": 1})], id="whole, without an id"
        ),
        pytest.param([[call(0, "a", "f", "{not JSON")]], [("a", "f", "{not JSON")], id="malformed arguments"),
    ],
)
async def test_tool_calls_are_put_together(pieces: list[Any], calls: list[Any]) -> None:
    ended = await replied(
        *choices(*(delta(tool_calls=piece) for piece in pieces)),
        chunk({"delta": {}, "finish_reason": "tool_calls"}),
    )
    *made, last = ended.own
    assert [(each["tool_call_id"], each["name"], each["arguments"]) for each in made] == calls
    assert last == {"type": "token", "content": "", "finish_reason": "tool_calls"}
    assert ended.output == ""


async def test_a_tool_call_comes_before_the_text_that_follows_it() -> None:
    ended = await replied(*choices(delta(tool_calls=[call(0, "a", "f", "{}")]), delta(content="Done"), STOP))
    assert [each["type"] for each in ended.own] == ["tool_call", "token", "token"]


async def test_a_refusal_is_the_reply() -> None:
    ended = await replied(*choices(delta(refusal="I can"), delta(refusal="not."), STOP))
    assert ended.tokens == ["", "I cannot."]
    assert ended.output == "I cannot."


async def test_a_refusal_of_a_content_filter_is_a_policy_violation() -> None:
    filtered = {"delta": {}, "finish_reason": "content_filter"}
    ended = await replied(*choices(delta(refusal="Not that."), filtered))
    assert (ended.code, ended.error) == ("POLICY_VIOLATION", "Not that.")


async def test_a_cut_reply_says_why_it_ends() -> None:
    ended = await replied(
        *choices(delta(content="Once"), {"delta": {"content": " upon"}, "finish_reason": "length"})
    )
    assert ended.own[-1] == {"type": "token", "content": " upon", "finish_reason": "length"}
    assert ended.output == "Once upon"


async def test_a_completion_that_is_not_streamed_is_understood() -> None:
    message = {
        "role": "assistant",
        "content": "No.",
        "reasoning": "Sun.",
        "tool_calls": [call(None, "a", "f", "{}")],
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    ended = await answered_json({"model": "m", "choices": [choice], "usage": {"prompt_tokens": 1}})
    assert [each["type"] for each in ended.own] == ["reasoning", "tool_call", "token", "usage"]
    assert ended.own[2] == {"type": "token", "content": "No.", "finish_reason": "stop"}
    assert ended.output == "No."


async def test_a_completion_without_a_reason_to_end_is_understood() -> None:
    ended = await answered_json({"choices": [{"message": {"content": [{"type": "text", "text": "No."}]}}]})
    assert (ended.tokens, ended.output) == (["No."], "No.")


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_done_or_a_finish_reason_ends_a_reply(done: bool) -> None:
    ended = await replied(*choices(delta(content="No"), delta() if done else STOP), done=done)
    assert ended.output == "No"


async def test_tokens_arrive_before_the_reply_ends() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.chunked(SSE)
        for number in range(3):
            await wire.chunk(frame(chunk(delta(content=str(number)))))
            await runs.emitted(run_id, 2 + number)
        await wire.chunk(stream())
        await wire.chunk()

    async with served(answer, **OPENAI) as (runs, _):
        run_id = await runs.start(PAYLOAD)
        assert (await runs.ended(run_id)).tokens == ["0", "1", "2"]


async def test_a_cancel_closes_the_connection() -> None:
    left = asyncio.Event()

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        await wire.send(frame(chunk(delta(content="begun"))))
        await wire.disconnected()
        left.set()

    async with served(answer, **OPENAI) as (runs, _):
        run_id = await runs.start(PAYLOAD)
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(left.wait(), TIMEOUT_SECONDS)


@pytest.mark.parametrize("before", ["", "x" * 990], ids=["short", "long"])
async def test_the_key_appears_in_no_error(before: str) -> None:
    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        error = f"{before}Incorrect key: {request.headers['authorization']}"
        await wire.whole(JSON, json.dumps({"error": {"message": error}}).encode(), "401 Unauthorized")

    async with (
        process(answer) as made,
        remote(made.url, token=TOKEN, **OPENAI) as agent,
        bench(agent, secrets=(TOKEN,)) as runs,
    ):
        ended = await runs.run(PAYLOAD)
    assert ended.error == f"the agent's server responded with status 401: {before}Incorrect key: Bearer ***"
    assert ended.terminal["details"] == {"status": 401}


@pytest.mark.parametrize(
    ("body", "error", "details"),
    [
        (
            b'{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded","param":null}}',
            ": Slow down",
            {"status": 429, "type": "requests", "code": "rate_limit_exceeded"},
        ),
        (b'{"error":"no such model"}', ": no such model", {"status": 429}),
        (b'{"object":"error","message":"too long","code":4}', ": too long", {"status": 429, "code": 4}),
        (b'{"detail":"Not Found"}', "", {"status": 429, "body": '{"detail":"Not Found"}'}),
        (b"<html>", "", {"status": 429, "body": "<html>"}),
        (
            b'{"error":{"message":"long","type":"%b","code":%d}}' % (b"x" * 257, 10**256),
            ": long",
            {"status": 429},
        ),
    ],
    ids=["OpenAI", "text", "vLLM", "FastAPI", "HTML", "long"],
)
async def test_an_error_status_is_an_error_with_the_servers_message(
    body: bytes, error: str, details: dict[str, Any]
) -> None:
    ended = await answered(bytes_of(JSON, body, status="429 Too Many Requests"))
    assert ended.code == "AGENT_EXECUTION_ERROR"
    assert ended.error == f"the agent's server responded with status 429{error}"
    assert ended.terminal["details"] == details


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "broken", "code": "server_error"}, "AGENT_EXECUTION_ERROR", "broken"),
        ({"message": "late", "code": "timeout_error"}, "TIMEOUT_ERROR", "late"),
        ({"message": "no", "code": "content_filter"}, "POLICY_VIOLATION", "no"),
        ("out of memory", "AGENT_EXECUTION_ERROR", "out of memory"),
        ({"code": ["x"]}, "AGENT_EXECUTION_ERROR", "the agent's server reports an error"),
    ],
    ids=["own code", "Dockrion's code", "content filter", "text", "no message"],
)
async def test_an_error_in_the_middle_is_the_runs_error(error: Any, code: str, message: str) -> None:
    ended = await replied(*choices(delta(content="Hm")), {"error": error})
    assert (ended.tokens, ended.code, ended.error) == (["Hm"], code, message)
