"""The processes of the client, and what they measure together."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from dockrion.load.child import Snapshot
from dockrion.load.figures import Figures, total
from dockrion.load.options import Options
from dockrion.load.worker import work

LAST_WORDS_SECONDS = 10.0
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
    parts = [Figures() for _ in shares]
    async with asyncio.TaskGroup() as group:
        for number, share in enumerate(shares):
            group.create_task(_Child(share, number, parts, show).run(stop))
    return total(parts)


class _Child:
    def __init__(
        self, share: Options, number: int, parts: list[Figures], show: Callable[[Figures], None]
    ) -> None:
        self._share = share
        self._number = number
        self._parts = parts
        self._show = show

    async def run(self, stop: asyncio.Event) -> None:
        # Modules are found where this process finds them: -m alone adds the working directory.
        safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *safe, "-m", "dockrion.load.child"),
            stdin=PIPE,
            stdout=PIPE,
            limit=_MOST_LINE,
            start_new_session=True,  # Ctrl-C is for the parent, who tells its children
        )
        reading = asyncio.create_task(self._read(process))
        stopped = asyncio.create_task(stop.wait())
        try:
            await self._tell(process)
            await asyncio.wait([reading, stopped], return_when=asyncio.FIRST_COMPLETED)
            if process.stdin is not None:
                process.stdin.close()
            await asyncio.wait([reading], timeout=LAST_WORDS_SECONDS)
        finally:
            stopped.cancel()
            reading.cancel()
            await asyncio.wait([stopped, reading])
            await _end(process)
        if reading.cancelled() or not reading.result():
            self._parts[self._number].error("a client process died")
        self._parts[self._number].open = 0

    async def _tell(self, process: Process) -> None:
        if process.stdin is not None:
            with suppress(ConnectionError):
                process.stdin.write(msgspec.json.encode(self._share) + b"\n")
                await process.stdin.drain()

    async def _read(self, process: Process) -> bool:
        """Take what it says, and return whether it came to its end."""
        final = False
        while process.stdout is not None and (line := await process.stdout.readline()):
            snapshot = msgspec.json.decode(line, type=Snapshot)
            self._parts[self._number] = snapshot.figures
            final = snapshot.final
            if not final:
                self._show(total(self._parts))
        return final


async def _end(process: Process) -> None:
    """Wait for a process, and kill one that does not end. A kill also reaps, which the loop wants to do."""
    try:
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
