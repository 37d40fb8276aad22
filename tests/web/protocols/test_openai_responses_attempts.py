"""Responses whose runs begin again on another replica."""

from collections.abc import Iterator
from typing import Any

import pytest

from dockrion import StreamContext, ids
from tests import support
from tests.backends.conformance import delete_keys
from tests.conftest import Serve
from tests.servers import KINDS, shared
from tests.web.helpers import Waits
from tests.web.protocols.openai_client import SERVED, sdk
from tests.web.protocols.test_openai_responses import ASKED

RETRY = {"on_worker_lost": "retry", "max_attempts": 2}


@pytest.fixture
def on_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Store all runs in Redis, without which no run begins again."""
    agent = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(KINDS[0]).url, "agent": agent})
    yield
    delete_keys(KINDS[0], agent)


@pytest.mark.usefixtures("on_redis")
async def test_series_goes_on_with_another_attempt(serve: Serve) -> None:
    waiting = Waits()

    async def agent(payload: Any, context: StreamContext) -> None:
        await context.emit_token("whole", message_id="m0", finish_reason="stop")
        if context.attempt == 1:
            await waiting(payload, context)
        await context.emit_token("Hello", message_id="m1")

    one = await serve(agent, expose=SERVED, streaming=RETRY)
    other = await serve(agent, expose=SERVED, streaming=RETRY)
    async with sdk(one) as first, sdk(other) as second:
        stream: Any = await first.responses.create(**ASKED, stream=True, background=True)
        events: list[Any] = []
        while not events or getattr(events[-1], "delta", "") != "first":
            events.append(await anext(stream))
        await one.service.drain(0)
        number = events[-1].sequence_number
        events += [event async for event in stream]
        response = events[-1].response
        resumed = await second.responses.retrieve(response.id, stream=True, starting_after=number)
        assert [event async for event in resumed] == events[number + 1 :]
        assert await second.responses.retrieve(response.id) == response
    assert [event.sequence_number for event in events] == list(range(len(events)))
    left_open = events[number + 3]
    assert (left_open.type, left_open.item.status) == ("response.output_item.done", "incomplete")
    assert (response.status, response.output_text) == ("completed", "wholeHello")
