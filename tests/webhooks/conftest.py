"""Fixtures of the tests of webhooks."""

from collections.abc import AsyncIterator

import pytest

from tests.backends.service import fast_beats, service
from tests.backends.trouble import logged
from tests.webhooks.receiver import Receiver, receiving

__all__ = ["fast_beats", "logged", "receiver", "service"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made
