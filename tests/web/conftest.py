"""Fixtures of the tests of the HTTP side."""

from collections.abc import Iterator

import pytest

from dockrion import ids
from tests import support
from tests.backends.conformance import delete_keys
from tests.servers import KINDS, shared
from tests.web.helpers import Stuck


@pytest.fixture(params=["memory", *KINDS])
def every_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test with its services on each backend in turn."""
    if request.param == "memory":
        yield
        return
    agent = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(request.param).url, "agent": agent})
    yield
    delete_keys(request.param, agent)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """Return a sync agent that is stuck, until the test ends at the latest."""
    agent = Stuck()
    yield agent
    agent.go.set()
