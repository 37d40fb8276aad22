"""Fixtures for tests of the HTTP API."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dockrion import ids
from tests import support
from tests.backends.conformance import delete_keys
from tests.backends.service import fast_beats, single_beat
from tests.servers import KINDS, shared
from tests.web.helpers import BlockedAgent

__all__ = ["fast_beats", "single_beat"]


@pytest.fixture(params=["memory", KINDS[0]])  # tests/backends shows that all servers are alike
def every_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test with its services on each backend."""
    if request.param == "memory":
        yield
    else:
        with on_redis(request.param, monkeypatch):
            yield


@pytest.fixture
def redis_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test with its services on Redis."""
    with on_redis(KINDS[0], monkeypatch):
        yield


@contextmanager
def on_redis(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let services store their runs in a Redis, under keys of their own."""
    agent = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(kind).url, "agent": agent})
    yield
    delete_keys(kind, agent)


@pytest.fixture
def stuck() -> Iterator[BlockedAgent]:
    """Return a sync agent that blocks, and release its thread at the end of the test."""
    agent = BlockedAgent()
    yield agent
    agent.go.set()
