"""Fixtures of the tests of the HTTP side."""

from collections.abc import Iterator

import pytest

from tests.web.helpers import Stuck


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """Return a sync agent that is stuck, until the test ends at the latest."""
    agent = Stuck()
    yield agent
    agent.go.set()
