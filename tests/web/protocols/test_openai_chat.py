"""Chat completions, as OpenAI's SDK for Python gets them."""

import asyncio
from typing import Any

import openai
import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits
from tests.web.protocols.openai_client import ASKED, SERVED, error_of, forecast, sdk

WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}


async def echo(payload: Any) -> Any:
    return payload


async def chunks_of(served: Served, **asked: Any) -> list[Any]:
    async with sdk(served) as client:
        stream: Any = await client.chat.completions.create(stream=True, **ASKED | asked)
        return [chunk async for chunk in stream]


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def newest(served: Served) -> dict[str, Any]:
    async with served.client.get("/runs") as response:
        return dict((await response.json())["items"][0])


async def test_whole_completion(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        done = await client.chat.completions.create(**ASKED)
    run = await newest(served)
    (choice,) = done.choices
    assert choice.message.content == "Let me look.\n\nIt rains."
    assert choice.message.model_extra == {"reasoning_content": "A tool knows."}
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert done.usage is not None
    counts = (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens)
    assert counts == (7, 5, 12)
    assert (done.id, done.model, done.object) == (f"chatcmpl-{run['run_id']}", "any", "chat.completion")
    assert run["status"] == "completed"


async def test_streamed_completion(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    *chunks, last = await chunks_of(served, stream_options={"include_usage": True})
    run = await newest(served)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == "Let me look.\n\nIt rains."
    reasoning = [(each.choices[0].delta.model_extra or {}).get("reasoning_content") for each in chunks]
    assert [each for each in reasoning if each] == ["A tool ", "knows."]
    assert [each.choices[0].finish_reason for each in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert (last.choices, last.usage.total_tokens) == ([], 12)
    assert {each.id for each in chunks} == {f"chatcmpl-{run['run_id']}"}
    assert not [each for each in chunks if each.usage or each.choices[0].delta.tool_calls]


async def test_helper_that_accumulates_a_stream(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED, openai={"show_tools": True})
    async with sdk(served) as client, client.chat.completions.stream(**ASKED) as stream:
        done = await stream.get_final_completion()
    (choice,) = done.choices
    assert choice.message.content == "Let me look.\n\nIt rains."
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "weather", '{"city":"Oslo"}')


async def test_client_executes_the_tools_that_it_offers(serve: Serve) -> None:
    async def calling(payload: Any, context: StreamContext) -> str:
        if payload["messages"][-1]["role"] == "tool":
            return f"It is {payload['messages'][-1]['content']}."
        (tool,) = payload["tools"]
        await context.emit_tool_call(tool["function"]["name"], {"city": "Oslo"}, "c1")
        return "unused"

    served = await serve(calling, expose=SERVED)
    async with sdk(served) as client:
        asked = ASKED | {"tools": [WEATHER]}
        first = (await client.chat.completions.create(**asked)).choices[0]
        assert first.finish_reason == "tool_calls"
        assert first.message.tool_calls
        result = {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "wet"}
        said = [*asked["messages"], first.message.model_dump(exclude_none=True), result]
        second = await client.chat.completions.create(**asked | {"messages": said})
        assert second.choices[0].message.content == "It is wet."
        streamed = await chunks_of(served, tools=[WEATHER])
    assert streamed[-1].choices[0].finish_reason == "tool_calls"
    assert streamed[-2].choices[0].delta.tool_calls[0].id == "c1"


async def test_agent_gets_the_messages_and_the_fields_that_it_has(serve: Serve) -> None:
    schema = {"properties": {"messages": {}, "temperature": {"type": "number"}}}
    served = await serve(echo, expose=SERVED, io_schema={"input": schema})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": "no"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, image]},
    ]
    async with sdk(served) as client:
        await client.chat.completions.create(model="m", messages=messages, temperature=0.5, seed=7)
    async with served.client.get(f"/runs/{(await newest(served))['run_id']}") as response:
        got = (await response.json())["output"]
    assert got == {
        "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "ab", "name": "ann"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "r", "tool_call_id": "c"},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [{"type": "text", "text": "c"}, image]},
        ],
    }


async def test_agent_may_get_the_last_question_alone(serve: Serve) -> None:
    agent = {"name": "tested", "handler": "tests.support:placeholder"}
    chat = {"field": "question", "output": "question"}
    served = await serve(echo, expose=SERVED, agent=agent | {"chat": chat})
    assert text_of(await chunks_of(served)) == "Rain?"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"model": "m" * 257}, "model"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
    ],
)
async def test_what_no_reply_would_have_is_refused(serve: Serve, asked: dict[str, Any], param: str) -> None:
    served = await serve(expose=SERVED)
    with pytest.raises(openai.BadRequestError) as error:
        await chunks_of(served, **asked)
    assert (error.value.param, error.value.code) == (param, "invalid_request")
    async with served.client.get("/runs") as response:
        assert (await response.json())["items"] == []


async def test_agent_that_takes_a_response_format_gets_it(serve: Serve) -> None:
    schema = {"properties": {"response_format": {"type": "object"}}}
    served = await serve(
        lambda payload: payload["response_format"]["type"], expose=SERVED, io_schema={"input": schema}
    )
    assert text_of(await chunks_of(served, response_format={"type": "json_object"})) == "json_object"


async def test_what_changes_nothing_is_ignored(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    await chunks_of(
        served, n=1, response_format={"type": "text"}, seed=1, user="u", extra_body={"new": {"a": 1}}
    )


async def test_question_is_shown_and_the_reply_goes_on_when_it_is_answered_elsewhere(serve: Serve) -> None:
    async def asking(_payload: Any, context: StreamContext) -> str:
        return "Sent." if await context.ask("Send it?", schema={"type": "boolean"}) else "Kept."

    served = await serve(asking, expose=SERVED)
    async with sdk(served) as client:
        stream = await client.chat.completions.create(stream=True, **ASKED)
        text = ""
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            if text == "Send it?":
                run = await newest(served)
                question = run["waiting_for"]["request_id"]
                answer = {"request_id": question, "value": True}
                async with served.client.post(f"/runs/{run['run_id']}/input", json=answer) as response:
                    assert response.status == 202, await response.text()
    assert text == "Send it?\n\nSent."


@pytest.mark.parametrize("leaves", [True, False])
async def test_closed_stream_cancels_the_run_unless_it_is_to_go_on(serve: Serve, leaves: bool) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    query = {} if leaves else {"on_disconnect": "continue"}
    async with sdk(served) as client:
        stream = await client.chat.completions.create(stream=True, extra_query=query, **ASKED)
        async for chunk in stream:
            if chunk.choices[0].delta.content == "first":
                break
        await stream.close()
    if leaves:
        await wait_until(lambda: agent.stopped)
    else:
        agent.go.set()
    record = await served.finished((await newest(served))["run_id"])
    assert record["status"] == ("cancelled" if leaves else "completed")


async def test_caller_who_does_not_wait_for_a_completion_cancels_the_run(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    async with sdk(served) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASKED))
        await wait_until(lambda: agent.payloads)
        asking.cancel()
        await asyncio.wait([asking])
    await wait_until(lambda: agent.stopped)
    assert (await served.finished((await newest(served))["run_id"]))["status"] == "cancelled"


async def test_models(serve: Serve) -> None:
    served = await serve(expose=SERVED)
    async with sdk(served) as client:
        assert [model.id async for model in client.models.list()] == ["tested"]
        assert (await client.models.retrieve("tested")).object == "model"
        with pytest.raises(openai.NotFoundError) as error:
            await client.models.retrieve("other")
    assert error_of(error) == (404, "invalid_request_error", "not_found")
