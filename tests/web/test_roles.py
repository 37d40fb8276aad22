"""What the processes of each role serve."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from dockrion.dockfile import Dockfile
from dockrion.web.app import create_app
from dockrion.web.routes import routes
from dockrion.web.service import SERVICE, Role
from tests.support import Client, dockfile
from tests.web.helpers import error_of

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
