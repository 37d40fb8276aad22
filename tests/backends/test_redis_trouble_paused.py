"""Redis is paused for long: its connections stay open, and it does not reply."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from dockrion.backends.redis.client import _REPLY_SECONDS
from dockrion.backends.redis.reaper import BEATS_TO_DEATH
from tests.backends.service import beat_every
from tests.backends.trouble import (
    EndlessAgent,
    Logged,
    RecordingReader,
    assert_accepts_runs,
    assert_complete,
    assert_refuses_runs,
    following,
    ready,
    serve_on,
    wait_ready,
)
from tests.conftest import Serve
from tests.servers import KINDS, RedisServer
from tests.support import Served, wait_until

_BEAT_SECONDS = 0.5
# Longer than it takes to give up waiting for a reply, and then to declare a replica dead.
PAUSE_SECONDS = _REPLY_SECONDS + 2 * BEATS_TO_DEATH * _BEAT_SECONDS


def has_emitted(agent: EndlessAgent, count: int) -> bool:
    return agent.emitted >= count


class Deployment:
    """Two replicas on one server, a run on each, and a reader of each run on each."""

    def __init__(self, server: RedisServer, replicas: list[Served]) -> None:
        self.server = server
        self.replicas = replicas
        self.agents = [EndlessAgent(0.01) for _ in replicas]
        self.run_ids: list[str] = []
        self.readers: list[RecordingReader] = []

    async def start(self, stack: AsyncExitStack) -> None:
        await wait_ready(*self.replicas)
        for served, agent in zip(self.replicas, self.agents, strict=True):
            served.use(agent)
            self.run_ids.append(await served.start())
            self.readers += await stack.enter_async_context(following(self.run_ids[-1], *self.replicas))
        for reader in self.readers:
            await reader.until(10)

    async def check_during_pause(self, seconds: float) -> None:
        """Check what clients see while Redis does not reply."""
        over = asyncio.get_running_loop().time() + seconds
        beats = [reader.count("heartbeat") for reader in self.readers]
        for served in self.replicas:
            assert not await ready(served)
            await assert_refuses_runs(served)
        await asyncio.sleep(over - asyncio.get_running_loop().time())
        for reader, before in zip(self.readers, beats, strict=True):
            assert not reader.over
            assert reader.count("heartbeat") - before >= seconds / 2
        for served in self.replicas:
            assert not await ready(served)
        assert all(agent.emitted < 1000 for agent in self.agents)

    async def check_afterwards(self) -> None:
        await wait_ready(*self.replicas)
        for agent in self.agents:
            emitted = agent.emitted
            await wait_until(partial(has_emitted, agent, emitted + 20))
            agent.finished = True
        for number, reader in enumerate(self.readers):
            assert_complete(await reader.end(), self.agents[number // 2].emitted + 2)
        for served in self.replicas:
            await assert_accepts_runs(served)
            await self.has_no_refused_runs(served)

    async def has_no_refused_runs(self, served: Served) -> None:
        """Check that runs whose creation was refused have ended or are not listed."""
        async with asyncio.timeout(10):
            while True:
                async with served.client.get("/runs") as response:
                    runs = (await response.json())["items"]
                if not any(run["status"] == "accepted" for run in runs):
                    return
                await asyncio.sleep(0.05)


@pytest.mark.long
async def test_everything_continues_after_a_pause(
    tmp_path: Path, serve: Serve, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, _BEAT_SECONDS)
    async with AsyncExitStack() as stack:
        servers = [stack.enter_context(RedisServer(kind, tmp_path)) for kind in KINDS]
        deployments = [
            Deployment(each, [await serve_on(serve, each.url) for _ in range(2)]) for each in servers
        ]
        for deployment in deployments:
            await deployment.start(stack)
        for server in servers:
            server.pause()
        await asyncio.gather(*(deployment.check_during_pause(PAUSE_SECONDS) for deployment in deployments))
        for server in servers:
            server.resume()
        for deployment in deployments:
            await deployment.check_afterwards()
        await logged.until("redis has recovered", 4)
        for served in (each for deployment in deployments for each in deployment.replicas):
            await served.client.close()
    assert logged.redis_errors() == ["UNREACHABLE"] * 4
    assert logged.fields("replica lost") == logged.fields("run lost") == []
    assert logged.tracebacks() == []
