"""Bursts of events: a reader that keeps up misses none, however small the window."""

from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import sequences


@pytest.mark.parametrize(("window", "tokens"), [(10, 50), (100, 5_000), (1_000, 5_000)])
async def test_reader_of_a_tight_loop_gets_every_event(serve: Serve, window: int, tokens: int) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        for _ in range(tokens):
            await context.emit_token("x")

    served = await serve(agent, streaming={"redis": {"max_events_per_run": window}})
    async with served.stream() as reader:
        messages = await reader.all()
    assert "gap" not in {message.event for message in messages}
    assert sequences(messages) == list(range(1, tokens + 3))


async def test_burst_from_sync_code_on_the_loop_arrives_complete(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        for _ in range(3_000):
            context.sync_emit_token("x")

    served = await serve(agent)
    async with served.stream() as reader:
        assert sequences(await reader.all()) == list(range(1, 3_003))


async def test_reader_keeps_up_with_a_thread_in_a_tight_loop(serve: Serve) -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        for _ in range(3_000):
            context.sync_emit_token("x")

    served = await serve(agent, streaming={"redis": {"max_events_per_run": 100}})
    async with served.stream() as reader:
        assert sequences(await reader.all()) == list(range(1, 3_003))
