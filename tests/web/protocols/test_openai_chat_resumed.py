"""Chat completions that are retrieved, and whose streams are cut anywhere and resumed."""

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits
from tests.web.protocols.openai_client import ASKED, SERVED, error_of, forecast, sdk
from tests.web.protocols.test_openai_chat import WEATHER, text_of
from tests.web.protocols.test_openai_responses_failures import SMALL_WINDOW
from tests.web.protocols.test_openai_responses_resumed import Counts
from tests.web.test_ownership import replicas
from tests.web.wire import connections

OFFERED: dict[str, Any] = ASKED | {"tools": [WEATHER]}
EVERY_FIELD = OFFERED | {"stream": True, "stream_options": {"include_usage": True}}


async def rest_of(served: Served, run_id: str, number: int) -> bytes:
    params: dict[str, Any] = {"stream": "true", "starting_after": number}
    async with served.client.get(f"/v1/chat/completions/chatcmpl-{run_id}", params=params) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        return await response.read()


async def resumed(client: openai.AsyncOpenAI, completion_id: str, number: int) -> Any:
    """Return the stream after some chunks, for which the SDK has no method of its own."""
    return await client.get(
        f"/chat/completions/{completion_id}",
        cast_to=ChatCompletionChunk,
        options={"params": {"stream": "true", "starting_after": number}},
        stream=True,
        stream_cls=openai.AsyncStream[ChatCompletionChunk],
    )


@pytest.mark.usefixtures("every_backend")
async def test_stream_cut_at_every_chunk_goes_on_byte_for_byte_on_another_replica(serve: Serve) -> None:
    async def agent(payload: Any, context: StreamContext) -> None:
        await forecast(payload, context)
        await context.emit_tool_call("weather", {"city": "Rome"}, "c2")  # which the client executes

    first, second = await replicas(serve, agent, expose=SERVED)
    async with first.client.post("/v1/chat/completions", json=EVERY_FIELD) as response:
        whole = await response.read()
        run_id = response.headers["X-Run-Id"]
    chunks = [chunk + b"\n\n" for chunk in whole.split(b"\n\n")[:-1]]
    assert len(chunks) == 12
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert b'"tool_calls"' in whole
    for number in range(len(chunks) + 1):
        assert b"".join(chunks[:number]) + await rest_of(second, run_id, number) == whole


@pytest.mark.usefixtures("every_backend")
async def test_stream_of_a_run_that_works_is_cut_and_resumed_by_turns(serve: Serve) -> None:
    agent = Counts()
    pair = await replicas(serve, agent, expose=SERVED)
    chunks: list[Any] = []
    async with sdk(pair[0]) as first, sdk(pair[1]) as second:
        stream: Any = await first.chat.completions.create(
            **ASKED, stream=True, extra_query={"on_disconnect": "continue"}
        )
        for turn, client in enumerate([second, first] * 3):
            agent.steps.release()
            async for chunk in stream:
                chunks.append(chunk)
                if chunk.choices[0].delta.content:
                    break
            for transport in (*connections(pair[0]), *connections(pair[1])):
                transport.abort()
            await stream.close()
            assert chunks[-1].choices[0].delta.content == f"{turn} "
            stream = await resumed(client, chunks[0].id, len(chunks))
        chunks += [chunk async for chunk in stream]
        whole = await second.chat.completions.retrieve(chunks[0].id)
    assert text_of(chunks) == whole.choices[0].message.content == "0 1 2 3 4 5 "
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_completion_is_retrieved_as_it_was_sent(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        sent = await client.chat.completions.create(**OFFERED)
        assert await client.chat.completions.retrieve(sent.id) == sent


async def test_whoever_retrieves_a_completion_waits_for_its_end(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=SERVED)
    run_id = await served.start()  # not as a completion
    await wait_until(lambda: agent.payloads)
    async with sdk(served) as client:
        stream = await resumed(client, f"chatcmpl-{run_id}", 0)
        assert (await anext(stream)).model == served.service.dockfile.agent.name
        agent.go.set()
        completion = await client.chat.completions.retrieve(f"chatcmpl-{run_id}")
    assert completion.choices[0].message.content == "firstlast"


async def test_positions_and_ids_that_do_not_exist(serve: Serve) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        stream: Any = await client.chat.completions.create(**ASKED, stream=True)
        chunks = [chunk async for chunk in stream]
        count = len(chunks) + 1  # with [DONE]
        with pytest.raises(openai.BadRequestError, match=f"there are {count} chunks so far") as error:
            await resumed(client, chunks[0].id, count + 1)
        assert error.value.param == "starting_after"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.retrieve("chatcmpl-none")
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.retrieve("none")


async def test_chunks_that_are_no_longer_stored_are_not_counted(serve: Serve) -> None:
    async def talking(_payload: Any, context: StreamContext) -> str:
        for number in range(40):
            await context.emit_token(f"{number} ")
        return "the output"

    served = await serve(talking, expose=SERVED, streaming=SMALL_WINDOW)
    run_id = await served.start()
    await served.finished(run_id)
    async with sdk(served) as client:
        with pytest.raises(openai.APIStatusError, match="no longer stored") as error:
            await resumed(client, f"chatcmpl-{run_id}", 20)
        assert error_of(error) == (410, "invalid_request_error", "gone")
        completion = await client.chat.completions.retrieve(f"chatcmpl-{run_id}")
    assert completion.choices[0].message.content == "the output"


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ([{"type": "function", "function": {"name": "x" * 65}}], "at most 64 characters"),
        ([WEATHER] * 129, "length <= 128"),
    ],
    ids=["long name", "many"],
)
async def test_tools_that_are_too_large_to_be_kept(serve: Serve, tools: list[Any], problem: str) -> None:
    served = await serve(forecast, expose=SERVED)
    async with sdk(served) as client:
        with pytest.raises(openai.BadRequestError, match=problem):
            await client.chat.completions.create(**ASKED, tools=tools)
