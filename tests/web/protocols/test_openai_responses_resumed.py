"""Streams of responses that are cut anywhere and resumed, by another replica too."""

import asyncio
from typing import Any

import openai
import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits
from tests.web.protocols.openai_client import SERVED, forecast, sdk
from tests.web.protocols.test_openai_responses import ASKED
from tests.web.test_ownership import replicas
from tests.web.wire import connections

pytestmark = pytest.mark.usefixtures("every_backend")


async def _bytes(served: Served, response_id: str, **query: Any) -> bytes:
    params = {"stream": "true", **query}
    async with served.client.get(f"/v1/responses/{response_id}", params=params) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        return await response.read()


async def test_stream_cut_at_every_frame_goes_on_byte_for_byte_on_another_replica(serve: Serve) -> None:
    first, second = await replicas(serve, forecast, expose=SERVED)
    body = ASKED | {"stream": True, "background": True}
    async with first.client.post("/v1/responses", json=body) as response:
        whole = await response.read()
        response_id = f"resp_{response.headers['X-Run-Id']}"
    assert await _bytes(second, response_id) == whole
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]
    assert len(frames) > 30
    for number in range(len(frames)):
        rest = await _bytes(second, response_id, starting_after=number)
        assert b"".join(frames[: number + 1]) + rest == whole


class Counts:
    """An agent that emits numbers, waiting between them."""

    def __init__(self) -> None:
        self.steps = asyncio.Semaphore(0)

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        for number in range(6):
            await self.steps.acquire()
            await context.emit_token(f"{number} ")


async def test_stream_of_a_run_that_works_is_cut_and_resumed_by_turns(serve: Serve) -> None:
    agent = Counts()
    pair = await replicas(serve, agent, expose=SERVED)
    events: list[Any] = []
    async with sdk(pair[0]) as first, sdk(pair[1]) as second:
        stream: Any = await first.responses.create(**ASKED, stream=True, background=True)
        for turn, client in enumerate([second, first] * 3):
            agent.steps.release()
            async for event in stream:
                events.append(event)
                if event.type == "response.output_text.delta":
                    break
            for transport in (*connections(pair[0]), *connections(pair[1])):
                transport.abort()
            await stream.close()
            last = events[-1].sequence_number
            assert events[-1].delta == f"{turn} "
            stream = await client.responses.retrieve(events[0].response.id, stream=True, starting_after=last)
        events += [event async for event in stream]
        response = await second.responses.retrieve(events[0].response.id)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert response == events[-1].response
    assert response.output_text == "0 1 2 3 4 5 "


async def test_response_is_cancelled_on_another_replica(serve: Serve) -> None:
    first, second = await replicas(serve, agent := Waits(), expose=SERVED)
    async with sdk(first) as one, sdk(second) as other:
        response = await one.responses.create(**ASKED, background=True)
        await wait_until(lambda: agent.payloads)
        assert (await other.responses.cancel(response.id)).status == "cancelled"
        assert (await one.responses.retrieve(response.id)).output_text == "first"


async def test_request_that_is_sent_again_to_another_replica_gets_the_same_stream(serve: Serve) -> None:
    first, second = await replicas(serve, agent := Waits(), expose=SERVED)
    options: dict[str, Any] = {
        "stream": True,
        "extra_headers": {"Idempotency-Key": "k"},
        "extra_query": {"on_disconnect": "continue"},
        **ASKED,
    }
    cut: list[Any] = []
    async with sdk(first) as client:
        stream: Any = await client.responses.create(**options)
        while not cut or cut[-1].type != "response.output_text.delta":
            cut.append(await anext(stream))
        for transport in connections(first):
            transport.abort()
        with pytest.raises(openai.APIConnectionError):
            await anext(stream)
    agent.go.set()
    async with sdk(second) as client:
        stream = await client.responses.create(**options)
        whole = [event async for event in stream]
    assert whole[: len(cut)] == cut
    assert whole[-1].response.output_text == "firstlast"
    assert len(agent.payloads) == 1
