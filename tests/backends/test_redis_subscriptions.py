"""Watches over Redis: those that come and go together are told together."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import pytest

from dockrion.backends.redis.store import Store
from dockrion.errors import TooManySubscribers
from tests.backends.conformance import begin
from tests.backends.service import Service


@pytest.mark.usefixtures("single_beat")
async def test_readers_who_come_and_go_at_once_cost_few_commands(service: Service) -> None:
    (made,) = await service.replicas(1)
    writer = await begin(made)
    asked: list[Any] = []
    ask = Store.query

    async def counted(self: Store, *given: Any) -> Any:
        asked.append(given)
        return await ask(self, *given)

    with patch.object(Store, "query", counted):
        async with AsyncExitStack() as stack:
            watches = (made.watch(writer.run_id, limit=100) for _ in range(50))
            await asyncio.gather(*map(stack.enter_async_context, watches))
            assert sum(service.readers(writer.run_id).values()) == 50
    assert len(asked) <= 5
    assert not sum(service.readers(writer.run_id).values())


@pytest.mark.usefixtures("single_beat")
async def test_of_too_many_who_come_at_once_as_many_as_may_get_in(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one)
    async with AsyncExitStack() as stack:
        watches = [made.watch(writer.run_id, limit=30) for made in (one, other) for _ in range(25)]
        came = await asyncio.gather(*map(stack.enter_async_context, watches), return_exceptions=True)
        refused = [each for each in came if isinstance(each, BaseException)]
        assert [type(each) for each in refused] == [TooManySubscribers] * 20
        assert sum(service.readers(writer.run_id).values()) == 30
    assert not sum(service.readers(writer.run_id).values())
