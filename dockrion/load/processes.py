"""The processes of the client, and what they measure together."""

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec

from dockrion.load.measurements import Figures, total
from dockrion.load.options import Options
from dockrion.load.worker import work
from dockrion.load.worker_process import Snapshot

LAST_WORDS_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # far more than the time between what a process tells
_MOST_LINE = 16 * 1024 * 1024


async def conduct(options: Options, show: Callable[[Figures], None], stop: asyncio.Event) -> Figures:
    """Do the whole test, in this process or in several.

    Args:
        options: The test.
        show: Called with the figures of all, now and then.
        stop: Ends it early.

    Returns:
        The figures of all.
    """
    shares = options.shares()
    if len(shares) == 1:
        return await work(shares[0], show, stop)
    parts = _Parts(len(shares), show)
    async with asyncio.TaskGroup() as group:
        for number, share in enumerate(shares):
            group.create_task(_run(share, number, parts, stop))
    return parts.total()


class _Parts:
    """What each process has measured so far.

    Args:
        processes: How many there are.
        show: Called once each of those that still work has told more: in between, the sum would go up in
            jumps that are none of the service's.
    """

    def __init__(self, processes: int, show: Callable[[Figures], None]) -> None:
        self._figures = [Figures() for _ in range(processes)]
        self._working = set(range(processes))
        self._told: set[int] = set()
        self._show = show

    def tell(self, number: int, figures: Figures) -> None:
        self._figures[number] = figures
        self._told.add(number)
        if self._told >= self._working:
            self._told.clear()
            self._show(self.total())

    def end(self, number: int, *, well: bool) -> None:
        self._working.discard(number)
        self._figures[number].open = 0
        if not well:
            self._figures[number].error("a client process died")

    def total(self) -> Figures:
        return total(self._figures)


async def _run(share: Options, number: int, parts: _Parts, stop: asyncio.Event) -> None:
    try:
        process = await _start()
    except OSError:
        parts.end(number, well=False)
        return
    stdin, stdout = cast("tuple[StreamWriter, StreamReader]", (process.stdin, process.stdout))
    reading = asyncio.create_task(_read(stdout, number, parts))
    stopped = asyncio.create_task(stop.wait())
    try:
        stdin.write(msgspec.json.encode(share) + b"\n")  # without a drain: it may never read
        await asyncio.wait([reading, stopped], return_when=asyncio.FIRST_COMPLETED)
        stdin.close()
        await asyncio.wait([reading], timeout=LAST_WORDS_SECONDS)
    finally:
        stopped.cancel()
        reading.cancel()
        await asyncio.wait([stopped, reading])
        await _end(process)
    parts.end(number, well=not reading.cancelled() and reading.result())


async def _start() -> Process:
    # Modules are found where this process finds them: -m alone adds the working directory.
    safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *safe, "-m", "dockrion.load.worker_process"),
        stdin=PIPE,
        stdout=PIPE,
        limit=_MOST_LINE,
        start_new_session=True,  # Ctrl-C is for the parent, who tells its children
    )


async def _read(stdout: StreamReader, number: int, parts: _Parts) -> bool:
    """Take what it says, and return whether it came to its end."""
    try:
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                line = await stdout.readline()
            snapshot = msgspec.json.decode(line, type=Snapshot)
            parts.tell(number, snapshot.figures)
            if snapshot.final:
                return True
    except (TimeoutError, msgspec.DecodeError):  # it hangs; it died, perhaps within a line
        return False


async def _end(process: Process) -> None:
    """Wait for a process, and kill one that does not end. A kill also reaps, which the loop wants to do."""
    try:
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
