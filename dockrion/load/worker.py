"""What one process of the load tester does.

As a program it is one of several processes: it reads its share of the test from stdin and writes its
measurements to stdout, a line of JSON each.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from dockrion.load.measurements import Measurements
from dockrion.load.options import Options
from dockrion.load.users import Users

_PUBLISH_INTERVAL = 0.5
_LAG_INTERVAL = 0.05


class Snapshot(msgspec.Struct):
    """What a process has measured so far; the last one is final."""

    measurements: Measurements
    final: bool


async def work(
    options: Options, publish: Callable[[Measurements], None], stop: asyncio.Event
) -> Measurements:
    """Carry out a share of the test.

    Args:
        options: The share.
        publish: Called about twice a second with the measurements so far.
        stop: Ends the test early.

    Returns:
        The measurements.
    """
    measurements = Measurements()
    started, cpu_at_start = time.perf_counter(), time.process_time()

    def update_usage() -> None:
        measurements.seconds = time.perf_counter() - started
        measurements.cpu = (time.process_time() - cpu_at_start) / max(measurements.seconds, 1e-9)

    async def observe() -> None:
        published = started
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_LAG_INTERVAL)
            now = time.perf_counter()
            measurements.loop_lag.add(now - before - _LAG_INTERVAL)
            if now - published >= _PUBLISH_INTERVAL:
                published = now
                update_usage()
                publish(measurements)

    observer = asyncio.create_task(observe())
    try:
        await Users(options, measurements).work(stop)
    finally:
        observer.cancel()
        await asyncio.wait([observer])
    update_usage()
    measurements.open = 0
    return measurements


async def _main(options: Options) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    stdin = sys.stdin.fileno()

    def on_stdin_closed() -> None:  # by the parent, or because it died
        loop.remove_reader(stdin)
        stop.set()

    loop.add_reader(stdin, on_stdin_closed)
    _write(await work(options, _write, stop), final=True)


def _write(measurements: Measurements, *, final: bool = False) -> None:
    line = msgspec.json.encode(Snapshot(measurements, final)) + b"\n"
    with suppress(BrokenPipeError):
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.stdin.buffer.readline(), type=Options)))
