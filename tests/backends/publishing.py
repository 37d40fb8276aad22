"""An event buffer with its writer, on a backend whose appends a test can hold."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.errors import AppendRefused, ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.filtered_buffer import FilteredEventBuffer
from dockrion.runs.log_writer import LogWriter
from dockrion.runs.outcome import Stop
from tests.backends.conformance import read_all
from tests.support import TIMEOUT_SECONDS, wait_until


class GatedBackend(MemoryBackend):
    """The memory backend with a gate before each append, and failures on request."""

    def __init__(self) -> None:
        super().__init__(max_events=1_000_000, ttl=60)
        self.gate = asyncio.Event()
        self.gate.set()
        self.in_flight: list[list[int]] = []
        self.failures = 0
        self.refused: int | None = None  # the size from which on an event is refused

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self.in_flight.append([entry.sequence for entry in entries])
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable("unreachable")
        self._refuse(entries)
        await super().append(run, entries)

    async def force_close(self, run: Run, last: Entry) -> None:
        self._refuse([last])
        await super().force_close(run, last)

    def _refuse(self, entries: Sequence[Entry]) -> None:
        if self.refused is not None and any(len(entry.data) >= self.refused for entry in entries):
            raise AppendRefused("too large")


class BufferBench:
    """An event buffer whose writer runs in a task."""

    def __init__(self, backend: GatedBackend, run: Run, **options: Any) -> None:
        self.backend = backend
        self.stored: list[Entry] = []
        self.stops: list[Stop] = []
        bounds = {"max_event_bytes": 2**20, "max_events": 1_000_000} | options
        self._changed = asyncio.Event()
        buffer = FilteredEventBuffer if "text_filter" in bounds else EventBuffer
        self.buffer = buffer(
            run.run_id, asyncio.get_running_loop(), self._changed.set, self.stops.append, **bounds
        )
        self.log = LogWriter(backend, run, self.buffer, self.stored.extend)
        self.writer = asyncio.create_task(self._write())

    def token(self, content: str) -> None:
        self.buffer.publish("token", {"content": content, "finish_reason": None})

    def blocking(self, content: str) -> None:
        self.buffer.publish_blocking("token", {"content": content, "finish_reason": None})

    def finish(self) -> None:
        self.buffer.publish("cancelled", {"reason": None}, status="cancelled")

    async def _write(self) -> None:
        while not self.buffer.closed:
            await self._changed.wait()
            self._changed.clear()
            await self.log.store()
        await self.log.store_rest()

    async def end(self) -> list[Entry]:
        """Finish the run and return its log."""
        self.finish()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.writer
        log = await read_all(self.backend, self.buffer.run_id, limit=100_000)
        assert log == self.stored
        assert [entry.sequence for entry in log] == list(range(1, len(log) + 1))
        return log


def contents(log: list[Entry]) -> list[str]:
    return [msgspec.json.decode(entry.data)["content"] for entry in log if entry.type == "token"]


async def hold(bench: BufferBench) -> None:
    """Hold the append of a first event, so that later events are buffered."""
    bench.backend.gate.clear()
    bench.token("held")
    await wait_until(lambda: bench.backend.in_flight)


async def fill(bench: BufferBench) -> None:
    await hold(bench)
    for number in range(BUFFER_EVENTS):
        bench.token(str(number))
    assert bench.buffer.full


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def join_threads(*threads: threading.Thread) -> None:
    await wait_until(lambda: not any(thread.is_alive() for thread in threads))


def waiting_threads(bench: BufferBench) -> int:
    room = bench.buffer._thread_room
    return 0 if room is None else len(room._waiters)  # type: ignore[attr-defined]
