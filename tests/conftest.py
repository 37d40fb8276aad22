"""Fixtures of all tests, and the check that tests leave no tasks or threads."""

import asyncio
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, settings

from dockrion.agents.handler import HandlerAgent
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.redis import RedisBackend
from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from dockrion.runs.manager import RunManager
from dockrion.runs.session import current_session
from dockrion.web.aiohttp_internals import connection_factory
from dockrion.web.app import create_app
from dockrion.web.service import SERVICE
from tests.support import PUSH_TOKEN, TIMEOUT_SECONDS, Served, dockfile, placeholder, wait_until

Serve = Callable[..., Awaitable[Served]]
# On a busy machine an example may take any time.
settings.register_profile("untimed", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seconds", type=float, default=30.0, help="duration of tests/chaos")
    parser.addoption("--chaos-seed", type=int, help="seed of tests/chaos, as printed by an earlier run")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt what lives as long as the tests from garbage collection, which is as rare as in the service."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first, since all processes wait for one that starts last."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates, which agents log on purpose: pytest-xdist could not send the report."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def imports_kept(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Drop the folders that a test's services have added to the import path, and what came from them."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def checks_what_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a task or a thread behind; only async tests need a loop for that."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("no_tasks_or_threads_left")
        yield
        return
    threads = set(threading.enumerate())
    yield
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not set(threading.enumerate()) <= threads:
        assert time.monotonic() < deadline, f"left: {set(threading.enumerate()) - threads}"
        time.sleep(0.005)


@pytest.fixture
async def no_tasks_or_threads_left() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail unless this loop's tasks and connections and the threads that have begun meanwhile have ended."""
    tasks, threads, connections = asyncio.all_tasks(), set(threading.enumerate()), _open_connections()

    def begun() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - tasks - {asyncio.current_task()}

    def opened() -> set[asyncio.Transport]:
        return _open_connections() - connections

    yield
    try:
        await wait_until(lambda: not begun())
    except AssertionError:
        for task in begun():
            task.print_stack(file=sys.stdout)
        raise
    await wait_until(lambda: set(threading.enumerate()) - threads <= _default_executor_threads())
    with suppress(AssertionError):
        await wait_until(lambda: not opened())
    left = [connection.get_extra_info("socket") for connection in opened()]
    assert not left


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Return the lines of the log, as they are written."""
    logged: list[dict[str, Any]] = []
    formatter, handler = JsonFormatter(Redactor(), current_session), logging.Handler()
    handler.emit = lambda record: logged.append(json.loads(formatter.format(record)))  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield logged
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a service in this process: `await serve(agent, section={…})`."""
    async with serving(tmp_path) as start:
        yield start


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start services in this loop, and end them all."""
    started: list[Served] = []
    closing = ExitStack()

    async def start(agent: Callable[..., Any] = placeholder, /, **sections: Any) -> Served:
        loaded = dockfile(tmp_path, sections)
        app = create_app(loaded)
        token = loaded.credentials.ingest_token == PUSH_TOKEN
        headers = {"Authorization": f"Bearer {PUSH_TOKEN}"} if token else {}
        client: TestClient[Any, Any] = TestClient(TestServer(app), headers=headers)
        await client.start_server()
        service = app[SERVICE]
        await service.loading
        if agent is not placeholder:
            service.runs.agent = HandlerAgent(agent)
        protocol = connection_factory(client.server.handler, service.dockfile.limits, service.write_seconds)
        listening = await asyncio.get_running_loop().create_server(protocol, client.host, 0, backlog=1024)
        closing.callback(listening.close)
        served = Served(client, service, listening)
        started.append(served)
        return served

    yield start
    closing.close()
    for served in started:
        runs, backend = served.service.runs, served.service.backend
        logs = list(backend._logs.values()) if isinstance(backend, MemoryBackend) else []
        await served.client.close()
        assert not runs._in_flight
        assert not runs._in_flight._by_id
        await wait_until(partial(_done, runs))
        if isinstance(backend, MemoryBackend):
            assert not backend._logs
        if isinstance(backend, RedisBackend):
            left = backend._subscriptions._subscriptions.values()
            # Of a reader who left just now, the end of the service may have cancelled the last command.
            assert not [each for each in left if each.watches or not each.dirty]
        assert not any(log.watches or log.subscribers for log in logs)


def _done(runs: RunManager) -> bool:
    return not runs._in_flight._ending


def _open_connections() -> set[asyncio.Transport]:
    """Return the connections of this loop that are not closed: their garbage would fail any later test."""
    loop: Any = asyncio.get_running_loop()
    return {connection for connection in loop._transports.values() if connection._sock is not None}


def _default_executor_threads() -> set[threading.Thread]:
    """Return the threads of `asyncio.to_thread`, which live as long as the loop."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")}
