"""Responses, as OpenAI's SDK for Python gets them."""

import asyncio
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, wait_until
from tests.web.helpers import Waits
from tests.web.protocols.openai_client import SERVED, error_of, forecast, sdk

ASKED: dict[str, Any] = {"model": "any", "input": "Rain?"}
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {}, "strict": None}


async def echo(payload: Any) -> Any:
    return payload


def _run_id(response: Response) -> str:
    return response.id.removeprefix("resp_")


async def _with_text(client: openai.AsyncOpenAI, response: Response, text: str) -> Response:
    """Wait until a response has this text."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while response.output_text != text:
            response = await client.responses.retrieve(response.id)
    return response


def _check_forecast(response: Response) -> None:
    reasoning, first, call, second = response.output
    assert reasoning.type == "reasoning"
    assert reasoning.summary[0].text == "A tool knows."
    assert call.type == "mcp_call"
    assert (call.name, call.arguments, call.output) == ("weather", '{"city":"Oslo"}', "rain")
    assert (first.type, second.type) == ("message", "message")
    assert response.output_text == "Let me look.It rains."
    assert response.usage is not None
    assert response.usage.total_tokens == 12
    assert response.status == "completed"


async def test_whole_response(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED, metadata={"a": "b"})
        _check_forecast(response)
        assert (response.model, response.metadata, response.background) == ("any", {"a": "b"}, False)
        assert await client.responses.retrieve(response.id) == response
    assert (await served.record(_run_id(response)))["status"] == "completed"


async def test_helper_that_accumulates_a_stream(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client, client.responses.stream(**ASKED) as stream:
        events = [event async for event in stream]
        response = await stream.get_final_response()
    snapshots = [event.snapshot for event in events if event.type == "response.output_text.delta"]
    assert snapshots == ["Let me look.", "It ", "It rains", "It rains."]
    _check_forecast(response)


async def test_client_executes_the_tools_that_it_offers(serve: Serve) -> None:
    payloads: list[Any] = []

    async def calling(payload: Any, context: StreamContext) -> str:
        payloads.append(payload)
        if payload["messages"][-1]["role"] == "tool":
            return f"It is {payload['messages'][-1]['content']}."
        await context.emit_token("Let me look.")
        await context.emit_tool_call(payload["tools"][0]["function"]["name"], {"city": "Oslo"}, "c1")
        return "unused"

    served = await serve(calling, expose=SERVED)
    said: list[Any] = [{"role": "user", "content": "Rain?"}]
    async with sdk(served) as client:
        first = await client.responses.create(model="m", input=said, tools=[WEATHER])
        call = first.output[1]
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("weather", '{"city":"Oslo"}')
        said += [each.to_dict() for each in first.output]
        said.append({"type": "function_call_output", "call_id": call.call_id, "output": "wet"})
        second = await client.responses.create(model="m", input=said, tools=[WEATHER])
    assert second.output_text == "It is wet."
    function = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert payloads[-1]["messages"] == [
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "wet"},
    ]
    assert payloads[-1]["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


async def test_output_of_a_response_can_be_sent_as_input(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED)
        served.use(echo)
        said = [{"role": "user", "content": "Rain?"}, *(each.to_dict() for each in response.output)]
        later: Any = [*said, {"role": "user", "content": "Sure?"}]
        response = await client.responses.create(model="m", instructions="Be brief.", input=later)
    run = await served.record(_run_id(response))
    assert [(each["role"], each["content"]) for each in run["output"]["messages"]] == [
        ("system", "Be brief."),
        ("user", "Rain?"),
        ("assistant", "Let me look."),
        ("tool", "rain"),
        ("assistant", "It rains."),
        ("user", "Sure?"),
    ]


async def test_background_response(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED, background=True)
        assert response.status in ("queued", "in_progress")
        assert response.background
        await wait_until(lambda: agent.payloads)
        response = await _with_text(client, response, "first")
        assert response.status == "in_progress"
        agent.go.set()
        await served.finished(_run_id(response))
        response = await client.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", "firstlast")


async def test_response_that_waits_for_its_turn(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED, streaming={"max_concurrent_runs": 1})
    await served.start()
    async with sdk(served) as client:
        stream = await client.responses.create(**ASKED, background=True, stream=True)
        created: Any = await anext(stream)
        assert created.type == "response.created"  # although no event tells anything of the run yet
        queued: Any = await anext(stream)
        assert queued.type == "response.queued"
        assert (await client.responses.retrieve(created.response.id)).status == "queued"
        agent.go.set()
        types = [event.type async for event in stream]
    assert types[0] == "response.in_progress"
    assert types[-1] == "response.completed"


async def test_responses_do_not_need_the_endpoints_of_runs(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED, streaming={"async_runs": False})
    async with sdk(served) as client:
        stream = await client.responses.create(**ASKED, background=True, stream=True)
        *_, last = [event async for event in stream]
        assert last.type == "response.completed"
        assert await client.responses.retrieve(last.response.id) == last.response


async def test_run_that_was_started_otherwise_is_a_response(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    run_id = await served.start({})
    await served.finished(run_id)
    async with sdk(served) as client:
        response = await client.responses.retrieve(f"resp_{run_id}")
        stream = await client.responses.retrieve(f"resp_{run_id}", stream=True)
        *_, last = [event async for event in stream]
    _check_forecast(response)
    assert response.model == "tested"
    assert last.type == "response.completed"
    assert last.response == response


async def test_response_that_is_cancelled(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED, background=True)
        stream = await client.responses.retrieve(response.id, stream=True)
        await wait_until(lambda: agent.payloads)
        cancelled = await client.responses.cancel(response.id)
        last = [event async for event in stream][-1]
        assert await client.responses.cancel(response.id) == cancelled
    assert agent.stopped
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "first")
    assert last.type == "response.incomplete"
    assert last.response == cancelled
    assert (await served.record(_run_id(response)))["status"] == "cancelled"


async def test_responses_are_not_deleted(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED)
        with pytest.raises(openai.BadRequestError, match="expire 3600 s after their end"):
            await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete("resp_other")
        assert (await client.responses.retrieve(response.id)).status == "completed"


@pytest.mark.parametrize("background", [False, True])
async def test_closed_connection_cancels_unless_in_the_background(serve: Serve, background: bool) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    async with sdk(served) as client:
        stream = await client.responses.create(**ASKED, background=background, stream=True)
        created: Any = await anext(stream)
        await wait_until(lambda: agent.payloads)
        await stream.close()
    if background:
        agent.go.set()
    else:
        await wait_until(lambda: agent.stopped)
    record = await served.finished(_run_id(created.response))
    assert record["status"] == ("completed" if background else "cancelled")


async def test_caller_who_does_not_wait_for_a_response_cancels_it(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    async with sdk(served) as client:
        asking = asyncio.create_task(client.responses.create(**ASKED))
        await wait_until(lambda: agent.payloads)
        asking.cancel()
        await asyncio.wait([asking])
    await wait_until(lambda: agent.stopped)


async def test_reader_goes_on_after_an_event(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        stream = await client.responses.create(**ASKED, stream=True)
        whole = [event async for event in stream]
        response_id = whole[0].response.id
        numbers = (0, 7, len(whole) - 2, len(whole) - 1)
        for number in numbers:
            stream = await client.responses.retrieve(response_id, stream=True, starting_after=number)
            assert [event async for event in stream] == whole[number + 1 :]
        with pytest.raises(
            openai.BadRequestError, match=f"the last event so far is {len(whole) - 1}"
        ) as error:
            await client.responses.retrieve(response_id, stream=True, starting_after=len(whole))
    assert error.value.param == "starting_after"


async def test_question_is_answered_elsewhere(serve: Serve) -> None:
    async def asking(_payload: Any, context: StreamContext) -> str:
        return "Sent." if await context.ask("Send it?", schema={"type": "boolean"}) else "Kept."

    served = await serve(asking, expose=SERVED)
    async with sdk(served) as client:
        response = await client.responses.create(**ASKED, background=True)
        await _with_text(client, response, "Send it?")
        question = (await served.record(_run_id(response)))["waiting_for"]["request_id"]
        answer = {"request_id": question, "value": True}
        async with served.client.post(f"/runs/{_run_id(response)}/input", json=answer) as answered:
            assert answered.status == 202
        await served.finished(_run_id(response))
        response = await client.responses.retrieve(response.id)
    assert response.output_text == "Send it?Sent."


async def test_repeated_request_finds_its_response(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    headers = {"Idempotency-Key": "k"}
    async with sdk(served) as client:
        first = await client.responses.create(**ASKED, extra_headers=headers)
        assert await client.responses.create(**ASKED, extra_headers=headers) == first
        with pytest.raises(openai.UnprocessableEntityError):
            await client.responses.create(model="m", input="Snow?", extra_headers=headers)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [WEATHER | {"name": "x" * 65}]}, "tools[0].name"),
        ({"input": []}, "input"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"metadata": {"a": "x" * 513}}, "metadata[...]"),
        ({"model": "m" * 257}, "model"),
    ],
)
async def test_what_no_response_would_have_is_refused(
    serve: Serve, asked: dict[str, Any], param: str
) -> None:
    served = await serve(expose=SERVED)
    async with sdk(served) as client:
        with pytest.raises(openai.BadRequestError) as error:
            await client.responses.create(**ASKED | asked)
    assert (error.value.param, error_of(error)) == (param, (400, "invalid_request_error", "invalid_request"))
