"""A service with several worker processes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.e2e.process import START_SECONDS, TIMEOUT_SECONDS, Process
from tests.exposition import metric
from tests.support import wait_until

MODULE = "tests.e2e.split"
# An agent that waits for the file `go`, and leaves a file named by its process id.
WAITS = """
import asyncio, os

async def handle(payload):
    open(f"works-{os.getpid()}", "w").close()
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return os.getpid()
"""
PID = "import os, time\nasync def handle(payload):\n    time.sleep(0.01)\n    return os.getpid()\n"


class Fleet:
    """A supervisor process, and what its log says about its workers."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Return the log lines with a message."""
        decoded = (
            msgspec.json.decode(line) for line in self.process.out.splitlines(True) if line[-1] == "\n"
        )
        return [line for line in decoded if line["message"] == message]

    async def until_logged(self, message: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for `count` log lines with a message, and return them."""
        await wait_until(lambda: len(self.lines(message)) >= count, START_SECONDS)
        return self.lines(message)

    @property
    def pids(self) -> set[int]:
        """The process ids of the ready workers."""
        died = {line["worker"] for line in self.lines("worker died")}
        return {line["worker"] for line in self.lines("worker ready")} - died

    @property
    def pid(self) -> int:
        return self.process.popen.pid

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Stop all workers but one."""
        held = self.pids - {pid}
        for each in held:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in filter(alive, held):
                os.kill(each, signal.SIGCONT)

    async def post(self, path: str = "/invoke", headers: dict[str, str] | None = None) -> Any:
        """Send a request on a new connection, and return the response's JSON."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.process.url + path, json={}, headers=headers) as response,
        ):
            assert response.status in (200, 202), await response.text()
            return await response.json()

    async def metric(self, name: str, **labels: str) -> float:
        """Return a metric of all workers."""
        async with aiohttp.ClientSession() as session, session.get(self.process.url + "/metrics") as response:
            text = await response.text()
            assert response.status == 200, text
        assert "mine" not in text
        return metric(text, name, **labels)

    async def until_gone(self, pids: set[int]) -> None:
        await wait_until(lambda: not any(map(alive, pids)), TIMEOUT_SECONDS)

    def end(self) -> None:
        self.process.end()
        for line in self.lines("agent loaded"):
            if alive(line["worker"]):
                os.kill(line["worker"], signal.SIGKILL)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile, or there is no /proc
        return not Path("/proc/self/stat").exists()
    return stat.rpartition(")")[2].split()[0] != "Z"
