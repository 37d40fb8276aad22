"""Fixtures for tests of the endpoints of protocols."""

import sys
from types import SimpleNamespace

import pytest

from tests.web.protocols.tiny import ENCODER, ROUTES


@pytest.fixture
def notified_of_activity_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls of MCP notify of activity at their beginning alone, however long the events after it take."""
    monkeypatch.setattr("dockrion.protocols.mcp.encoder.ACTIVITY_SECONDS", 3600.0)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the tiny protocol in place of `vercel-ai`."""
    monkeypatch.setitem(sys.modules, "dockrion.web.protocols.vercel_ai", SimpleNamespace(ROUTES=ROUTES))
    ENCODER.calls.clear()
