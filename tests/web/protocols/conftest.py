"""Fixtures for tests of the endpoints of protocols."""

import sys
from types import SimpleNamespace

import pytest

from tests.web.protocols.tiny import ENCODER, ROUTES


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the tiny protocol in place of `vercel-ai`."""
    monkeypatch.setitem(sys.modules, "dockrion.web.protocols.vercel_ai", SimpleNamespace(ROUTES=ROUTES))
    ENCODER.calls.clear()
