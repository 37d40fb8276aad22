"""What a long queue costs: the memory of Redis for each waiting run, and the commands of taking one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dockrion.backends.redis import RedisBackend
from dockrion.runs.agent import Call
from dockrion.runs.job import encode_job
from tests.backends.conformance import new_run
from tests.servers import KINDS, RedisServer

PAYLOAD = b'"%s"' % (b"x" * 98)


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    with RedisServer(request.param, tmp_path) as started:
        yield started


@pytest.fixture
async def backend(server: RedisServer) -> AsyncIterator[RedisBackend]:
    """A replica that does nothing by itself once its queue can be used."""
    made = RedisBackend(server.url, agent="tested", max_events=10, ttl=60, max_run_duration=60)
    await enqueue(made, 1)
    await take(made)
    await made._tasks.cancel_until_done()
    yield made
    await made.aclose()


async def enqueue(backend: RedisBackend, number: int) -> None:
    job = encode_job(Call(None, body=PAYLOAD))
    for _ in range(number // 50):
        await asyncio.gather(*(backend.queue.enqueue(new_run(), job, 10_000) for _ in range(50)))
    for _ in range(number % 50):
        await backend.queue.enqueue(new_run(), job, 10_000)


async def take(backend: RedisBackend) -> None:
    assert len(await backend.queue.take(1, lambda _run_id: False)) == 1


async def test_a_waiting_run_takes_little_memory_beside_its_payload(
    server: RedisServer, backend: RedisBackend
) -> None:
    before = server.command("INFO", "memory")["used_memory"]
    await enqueue(backend, 500)
    assert (server.command("INFO", "memory")["used_memory"] - before) / 500 < len(PAYLOAD) + 2500


async def test_taking_a_run_is_the_same_commands_however_many_wait(
    server: RedisServer, backend: RedisBackend
) -> None:
    async def commands_of_a_take() -> dict[str, int]:
        server.command("CONFIG", "RESETSTAT")
        await take(backend)
        return {name: stats["calls"] for name, stats in server.command("INFO", "commandstats").items()}

    await enqueue(backend, 10)
    of_ten = await commands_of_a_take()
    await enqueue(backend, 1000)
    assert await commands_of_a_take() == of_ten
    assert of_ten["cmdstat_evalsha"] == 2
