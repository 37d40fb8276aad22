"""A service whose processes have roles, on a Redis that other tests use, too."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.backends.conformance import delete_keys
from tests.e2e.process import TIMEOUT_SECONDS, Process, get, write_dockfile
from tests.exposition import metric
from tests.servers import KINDS, shared
from tests.support import Reader

SLOTS = 2  # of each worker
GRACE = {"api": "20", "worker": "0.2"}
# An agent that says which process it is, and waits for a file or for some time, or keeps its process busy
# while there is a file.
AGENT = """
import asyncio, os
from pathlib import Path

async def handle(payload, context):
    await context.emit_token(str(os.getpid()))
    match payload.get("do"):
        case "wait":
            while not Path(payload["file"]).exists():
                await asyncio.sleep(0.01)
        case "sleep":
            await asyncio.sleep(payload["seconds"])
        case "burn":
            while not Path(payload["file"]).exists():
                await asyncio.sleep(0.01)
            Path(payload["file"]).with_suffix(".burns").touch()
            while Path(payload["file"]).exists():
                pass
        case "raise":
            raise ValueError("no")
        case "unusable":
            return object()
    return payload.get("say")
"""


class SplitService:
    """One API process, and workers that can be started and ended.

    Args:
        folder: For the Dockfile and the output of the processes.
        agent: The name of the agent.
    """

    def __init__(self, folder: Path, agent: str) -> None:
        self.agent = agent
        self._folder = folder
        self._numbers = itertools.count()
        sections = {
            "agent": {"name": agent, "handler": "agent:handle"},
            "io_schema": {"input": {"properties": {"do": {"type": "string"}}}},
            "streaming": {
                "backend": "redis",
                "max_concurrent_runs": SLOTS,
                "on_worker_lost": "retry",
                "max_attempts": 5,
                "redis": {"url": shared(KINDS[0]).url},
            },
        }
        self._dockfile = write_dockfile(folder, AGENT, **sections)
        (folder / "impatient").mkdir()
        self._impatient = write_dockfile(
            folder / "impatient", AGENT, arguments={"timeout_sec": 1}, **sections
        )
        self.processes: list[Process] = []
        self.workers: list[Process] = []

    async def start(self) -> None:
        """Start the API process and two workers."""
        self.api = self._begin("api")
        self.workers = [self._begin("worker") for _ in range(2)]
        await asyncio.gather(*map(_until_ready, self.processes))

    async def start_api(self, *, impatient: bool = False) -> Process:
        """Start another API process, which may wait for a second only for what it invokes."""
        api = self._begin("api", self._impatient if impatient else self._dockfile)
        await _until_ready(api)
        return api

    async def start_worker(self) -> Process:
        worker = self._begin("worker")
        await _until_ready(worker)
        self.workers.append(worker)
        return worker

    async def end_worker(self, worker: Process, number: int = signal.SIGTERM) -> None:
        self.workers.remove(worker)
        worker.signal(number)
        assert await worker.exit_code() == (0 if number == signal.SIGTERM else -number)

    async def free_slots(self) -> None:
        """Wait until no worker works on anything."""

        async def idle(worker: Process) -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as response:
                return metric(await response.text(), "dockrion_active_runs") == 0

        async with asyncio.timeout(TIMEOUT_SECONDS):
            for worker in self.workers:
                while not await idle(worker):
                    await asyncio.sleep(0.02)

    @asynccontextmanager
    async def stream(self, payload: Any, api: Process | None = None) -> AsyncIterator[Reader]:
        """Start a run, and open its stream (pattern A)."""
        api = api or self.api
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{api.url}/invoke/stream", json=payload) as response,
        ):
            assert response.status == 200, await response.text()
            yield Reader(response)

    @asynccontextmanager
    async def events(self, run_id: str) -> AsyncIterator[Reader]:
        """Open the stream of a run (pattern B)."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.api.url}/runs/{run_id}/events") as response,
        ):
            assert response.status == 200, await response.text()
            yield Reader(response)

    def end(self) -> None:
        for process in self.processes:
            process.end()
        delete_keys(KINDS[0], self.agent)

    def _begin(self, role: str, dockfile: Path | None = None) -> Process:
        folder = self._folder / f"{role}-{next(self._numbers)}"
        folder.mkdir()
        arguments = ["--role", role, "--grace", GRACE[role]]
        process = Process(dockfile or self._dockfile, folder, "tests.e2e.attentive", {}, arguments)
        self.processes.append(process)
        return process


async def _until_ready(process: Process) -> None:
    await process.until_listening()
    await process.until_logged("agent loaded")
    assert (await get(process, "/ready"))[0] == 200
