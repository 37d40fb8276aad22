"""Fixtures for the tests of authentication."""

from collections.abc import AsyncIterator

import pytest

from dockrion.auth import events_tokens, introspection, jwt_keys
from tests.auth.clock import Clock
from tests.auth.issuers import IssuerServer, issuer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the whole package."""
    clock = Clock()
    for module in (introspection, jwt_keys, events_tokens):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
async def served() -> AsyncIterator[IssuerServer]:
    async with issuer() as served:
        yield served
