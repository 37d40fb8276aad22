"""Finished runs leave nothing in memory."""

import gc
import tracemalloc
from typing import Any

from dockrion import StreamContext
from dockrion.backends.memory import MemoryBackend
from tests.agents.harness import Bench, bench
from tests.support import wait_until


async def test_three_thousand_runs_leave_memory_flat() -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        for _ in range(5):
            await context.emit_token("x" * 100)
        return payload

    async def work(made: Bench, runs: int) -> int:
        for number in range(runs):
            await made.start({"n": number})
            if not number % 50:
                await wait_until(lambda: not made.runs._in_flight)
        await wait_until(lambda: not made.runs._in_flight._ending)
        await wait_until(lambda: not backend._logs)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    backend = MemoryBackend(max_events=100, ttl=0)
    tracemalloc.start()
    try:
        async with bench(agent, backend=backend, queue=1000) as made:
            before = await work(made, 300)
            assert await work(made, 3000) - before < 100_000
    finally:
        tracemalloc.stop()
