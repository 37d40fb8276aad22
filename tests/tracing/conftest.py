"""Fixtures for tests of traces."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from dockrion.tracing import provider
from tests.tracing.receiver import Collector, collecting, own_tracer_provider


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    async with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def tracer_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the services of a test set the global tracer provider, and send spans at once."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    # A busy machine may take long to send them, and then to receive them, in the loop of the test.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    monkeypatch.setattr(provider, "_FLUSH_SECONDS", 60.0)
    with own_tracer_provider():
        yield
