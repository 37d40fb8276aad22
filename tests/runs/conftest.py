"""A buffer, its writer, and a backend that can be held up."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from dockrion.errors import AppendRefused, RunClosed, SequenceConflict
from tests.backends.conformance import new_run
from tests.backends.publishing import (
    BufferBench,
    GatedBackend,
)


@pytest.fixture
async def bench() -> AsyncIterator[BufferBench]:
    backend = GatedBackend()
    run = new_run()
    await backend.create(run)
    bench = BufferBench(backend, run)
    yield bench
    bench.backend.gate.set()
    bench.buffer.close()
    with contextlib.suppress(AppendRefused, SequenceConflict, RunClosed):
        await bench.writer
    await backend.aclose()
