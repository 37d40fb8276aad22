"""A stream continues on another replica."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dockrion import ids
from dockrion.client import Client, Complete, Event, NotFound, Token
from tests import support
from tests.backends.conformance import delete_keys
from tests.client.conftest import Connect
from tests.client.proxies import Proxy, proxy
from tests.conftest import Serve
from tests.e2e.conftest import Start
from tests.e2e.conftest import start as start  # noqa: PLC0414  a fixture
from tests.e2e.process import Process, write_dockfile
from tests.servers import KINDS, shared
from tests.web.helpers import Waits

TALKS = """
async def handle(payload, context):
    for number in range(50):
        await context.emit_token(str(number) * 20)
"""
LAST = 52
NOBODY = 1  # a port


@pytest.fixture
def agent_name() -> Any:
    name = f"replicas-{ids.uuid7()}"
    yield name
    delete_keys(KINDS[0], name)


async def test_a_stream_continues_on_another_replica(
    serve: Serve, connect: Connect, agent_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(KINDS[0]).url, "agent": agent_name})
    one = await serve(agent := Waits())
    other = await serve()
    async with proxy(one.port, [1000]) as cutting:
        client = await connect(cutting)
        events: list[Any] = []
        async for event in client.stream({}):
            events.append(event)
            if isinstance(event, Token) and event.content == "first":
                cutting.service = other.port
                agent.go.set()
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert isinstance(events[-1], Complete)


async def test_a_run_that_is_lost_with_its_service(serve: Serve, connect: Connect) -> None:
    one, other = await serve(agent := Waits()), await serve()

    async def read(cutting: Proxy) -> None:
        async for event in (await connect(cutting)).stream({}):
            if isinstance(event, Token):
                cutting.service = other.port
                agent.go.set()

    async with proxy(one.port, [1000]) as cutting:
        with pytest.raises(NotFound):
            await read(cutting)


async def test_a_service_that_is_killed_and_restarted(start: Start, tmp_path: Path, agent_name: str) -> None:
    path = write_dockfile(
        tmp_path,
        TALKS,
        agent={"name": agent_name, "handler": "agent:handle"},
        streaming={"backend": "redis", "redis": {"url": shared(KINDS[0]).url}},
    )
    first = await start(path)
    read: list[int] = []

    async def restart() -> None:
        cutting.service = NOBODY  # others may get the port of the service that is gone
        first.end()
        cutting.service = _port(await start(path))

    async with (
        proxy(_port(first), [4000]) as cutting,
        Client(f"http://127.0.0.1:{cutting.port}") as client,
        asyncio.TaskGroup() as group,
    ):
        async for event in (stream := client.stream({})):
            assert isinstance(event, Event)
            read.append(event.sequence)
            if len(read) == 5:
                while (await client.get(stream.run_id)).status != "completed":
                    pass
                group.create_task(restart())
    assert read == list(range(1, LAST + 1))


def _port(process: Process) -> int:
    return int(process.url.rpartition(":")[2])
