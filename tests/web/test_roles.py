"""What the processes of each role serve."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dockrion.agents.handler import HandlerAgent
from dockrion.dockfile import Dockfile
from dockrion.runs.agent import Call
from dockrion.web.app import create_app
from dockrion.web.routes import routes
from dockrion.web.service import SERVICE, Role
from tests.support import Client, dockfile, wait_until
from tests.web.helpers import Waits, error_of

Start = Callable[..., Awaitable[Client]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a process's application: `await start(role, section={…})`."""
    started: list[Client] = []

    async def begin(role: Role, **sections: Any) -> Client:
        app = create_app(dockfile(tmp_path, sections), role)
        client: Client = TestClient(TestServer(app))
        await client.start_server()
        started.append(client)
        await app[SERVICE].loading
        return client

    yield begin
    for client in started:
        await client.close()


def served(spec: Dockfile, role: Role) -> list[str]:
    return [f"{route.method} {route.path}" for route in routes(spec, role)]


@pytest.mark.parametrize("rest", [True, False])
def test_a_worker_serves_its_health_and_metrics_only(tmp_path: Path, rest: bool) -> None:
    spec = dockfile(tmp_path, {"expose": {"rest": rest}}).dockfile
    assert served(spec, "worker") == ["GET /health", "GET /ready", "GET /metrics"]
    assert served(spec, "api") == served(spec, "all")


@pytest.mark.parametrize(("role", "status"), [("api", 200), ("worker", 503), ("all", 503)])
async def test_only_an_api_process_is_ready_without_the_agent_process(
    start: Start, tmp_path: Path, role: Role, status: int
) -> None:
    agent = {"name": "tested", "framework": "custom", "url": f"unix:{tmp_path}/absent:/invoke"}
    client = await start(role, agent=agent)
    async with client.get("/ready") as answer:
        assert answer.status == status


async def test_state_of_a_queue_that_cannot_be_read_is_unknown(start: Start) -> None:
    away = {"backend": "redis", "redis": {"url": "redis://127.0.0.1:1/0"}}
    worker = await start("worker", streaming=away)
    async with worker.get("/metrics") as answer:
        text = await answer.text()
    assert answer.status == 200
    for name in ("queued_runs", "queue_oldest_seconds", "queue_payload_bytes"):
        assert f'\ndockrion_{name}{{agent="tested"}} NaN\n' in text


@pytest.mark.parametrize("role", ["all", "worker"])
async def test_process_whose_slots_are_taken_says_so_only_if_asked(start: Start, role: Role) -> None:
    client = await start(role, streaming={"max_concurrent_runs": 1})
    service = (client.app or web.Application())[SERVICE]
    service.runs.agent = HandlerAgent(waits := Waits())
    await service.runs.start(Call({}), "r")

    async def status(query: str) -> int:
        async with client.get(f"/ready{query}") as answer:
            return answer.status

    queries = ("", "?accepting=false", "?accepting=1", "?accepting=true")
    assert [await status(query) for query in queries] == [200, 200, 503, 503]
    waits.go.set()
    await wait_until(lambda: service.runs.slots.free)
    assert await status("?accepting=1") == 200


async def test_api_process_has_no_slots_and_accepts_nevertheless(start: Start) -> None:
    api = await start("api")
    async with api.get("/ready?accepting=1") as answer:
        assert answer.status == 200
    async with api.get("/info") as answer:
        assert (await answer.json())["role"] == "api"


async def test_other_paths_of_a_worker_are_json_errors(start: Start) -> None:
    worker = await start("worker")
    for path in ("/", "/runs", "/info", "/docs", "/openapi.json"):
        async with worker.get(path) as answer:
            await error_of(answer, 404, "NOT_FOUND")
    async with worker.post("/invoke", json={}) as answer:
        await error_of(answer, 404, "NOT_FOUND")
    for path in ("/health", "/ready", "/metrics"):
        async with worker.get(path) as answer:
            assert answer.status == 200
