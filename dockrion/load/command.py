"""`dockrion load`."""

import argparse
import asyncio
import resource
import signal
import sys
from pathlib import Path

import msgspec

from dockrion.load.display import Live, table
from dockrion.load.html_report import page
from dockrion.load.measurements import Figures, Point, Series
from dockrion.load.options import Options, add_arguments, options
from dockrion.load.processes import conduct
from dockrion.load.result import Result, result

__all__ = ["add_arguments", "run"]
_OTHER_FILES = 64  # of the interpreter, and of connections that are being closed


def run(asked: argparse.Namespace) -> int:
    """Load a service as asked, and say what was found.

    Returns:
        The exit code: 1 when there is an error, a violation, or no success.
    """
    try:
        wanted = options(asked)
        allow_files(wanted)
    except ValueError as error:
        asked.refuse(str(error))  # which does not return
        raise
    found = asyncio.run(test(wanted))
    print(table(found), end="")  # noqa: T201  printing is its job
    written = [
        _write(asked.json, msgspec.json.format(msgspec.json.encode(found)) + b"\n"),
        _write(asked.html, page(found).encode()),
    ]
    return 0 if found.ok and all(written) else 1


def allow_files(wanted: Options) -> None:
    """Let this process, and those it starts, open as many files as the test needs.

    Raises:
        ValueError: The system does not allow so many.
    """
    share = -(-wanted.concurrency // wanted.processes)
    needed = share * max(wanted.readers, 1) + share + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ValueError(
            f"this needs {needed:,} open files in a process, and the system allows {hard:,}: "
            "use more --processes, or fewer runs and readers at a time"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def test(wanted: Options) -> Result:
    """Do the test; Ctrl-C ends it early."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    live, series = Live(wanted, sys.stdout), Series()

    def show(figures: Figures) -> None:
        series.add(_point(figures))
        live.show(figures)

    try:
        figures = await conduct(wanted, show, stop)
    finally:
        live.clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    series.add(_point(figures))
    return result(wanted, figures, [_point(Figures()), *series.points], ended_early=stop.is_set())


def _point(figures: Figures) -> Point:
    return Point(figures.seconds, figures.ended, figures.events, figures.received)


def _write(path: Path | None, content: bytes) -> bool:
    if path is None:
        return True
    try:
        path.write_bytes(content)
    except OSError as error:
        print(f"cannot write {path}: {error.strerror}", file=sys.stderr)  # noqa: T201  as above
        return False
    return True
