"""One of several client processes: its share comes on stdin, its figures leave on stdout, a line each."""

import asyncio
import os
import sys
from contextlib import suppress

import msgspec

from dockrion.load.measurements import Figures
from dockrion.load.options import Options
from dockrion.load.worker import work


class Snapshot(msgspec.Struct):
    """What a process has measured so far.

    Attributes:
        figures: That.
        final: Whether it is done.
    """

    figures: Figures
    final: bool


async def _work(options: Options) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    stdin = sys.stdin.fileno()

    def end() -> None:  # stdin is closed by the parent, or with it
        loop.remove_reader(stdin)
        stop.set()

    loop.add_reader(stdin, end)
    _publish(await work(options, _publish, stop), final=True)


def _publish(figures: Figures, *, final: bool = False) -> None:
    line = msgspec.json.encode(Snapshot(figures, final)) + b"\n"
    with suppress(BrokenPipeError):
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]


if __name__ == "__main__":
    asyncio.run(_work(msgspec.json.decode(sys.stdin.buffer.readline(), type=Options)))
