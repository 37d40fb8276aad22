"""The processes of the load tester, and the sum of what they measure."""

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec

from dockrion.load.measurements import Measurements, total
from dockrion.load.options import Options
from dockrion.load.worker import Snapshot, work

EXIT_TIMEOUT = 10.0
SNAPSHOT_TIMEOUT = 60.0  # far more than the interval of a process's snapshots
_MAX_LINE_BYTES = 16 * 1024 * 1024


async def run_test(
    options: Options, show: Callable[[Measurements], None], stop: asyncio.Event
) -> Measurements:
    """Carry out the whole test, in this process or in several.

    Args:
        options: The test.
        show: Called now and then with the measurements of all processes.
        stop: Ends the test early.

    Returns:
        The measurements of all processes.
    """
    shares = options.shares()
    if len(shares) == 1:
        return await work(shares[0], show, stop)
    totals = Totals(len(shares), show)
    async with asyncio.TaskGroup() as group:
        for number, share in enumerate(shares):
            group.create_task(_run_process(share, number, totals, stop))
    return totals.total()


class Totals:
    """The latest measurements of each process.

    Args:
        processes: How many there are.
        show: Called when every running process has sent a snapshot since the last call. More often, the
            rates of the sum would jump though those of the service do not.
    """

    def __init__(self, processes: int, show: Callable[[Measurements], None]) -> None:
        self._measurements = [Measurements() for _ in range(processes)]
        self._running = set(range(processes))
        self._updated: set[int] = set()
        self._show = show

    def update(self, number: int, measurements: Measurements) -> None:
        self._measurements[number] = measurements
        self._updated.add(number)
        if self._updated >= self._running:
            self._updated.clear()
            self._show(self.total())

    def end(self, number: int, *, succeeded: bool) -> None:
        self._running.discard(number)
        self._measurements[number].open = 0
        if not succeeded:
            self._measurements[number].count_error("a client process died")

    def total(self) -> Measurements:
        return total(self._measurements)


async def _run_process(share: Options, number: int, totals: Totals, stop: asyncio.Event) -> None:
    try:
        process = await _start()
    except OSError:
        totals.end(number, succeeded=False)
        return
    stdin, stdout = cast("tuple[StreamWriter, StreamReader]", (process.stdin, process.stdout))
    reading = asyncio.create_task(_read_snapshots(stdout, number, totals))
    stopped = asyncio.create_task(stop.wait())
    try:
        stdin.write(msgspec.json.encode(share) + b"\n")  # without drain(): a process that hangs never reads
        await asyncio.wait([reading, stopped], return_when=asyncio.FIRST_COMPLETED)
        stdin.close()
        await asyncio.wait([reading], timeout=EXIT_TIMEOUT)
    finally:
        stopped.cancel()
        reading.cancel()
        await asyncio.wait([stopped, reading])
        await _reap(process)
    totals.end(number, succeeded=not reading.cancelled() and reading.result())


async def _start() -> Process:
    # Find modules where this process finds them: -m alone would add the working directory to the path.
    safe_path = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *safe_path, "-m", "dockrion.load.worker"),
        stdin=PIPE,
        stdout=PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,  # Ctrl-C goes to the parent alone, which stops its children
    )


async def _read_snapshots(stdout: StreamReader, number: int, totals: Totals) -> bool:
    """Read snapshots, and return whether the final one was received."""
    try:
        while True:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT):
                line = await stdout.readline()
            snapshot = msgspec.json.decode(line, type=Snapshot)
            totals.update(number, snapshot.measurements)
            if snapshot.final:
                return True
    except (TimeoutError, msgspec.DecodeError):  # it hangs; it died, perhaps within a line
        return False


async def _reap(process: Process) -> None:
    """Wait for a process to exit, and kill it if it does not."""
    try:
        async with asyncio.timeout(EXIT_TIMEOUT):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
