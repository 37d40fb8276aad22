"""`dockrion load`."""

import argparse
import asyncio
import resource
import signal
import sys
from pathlib import Path

import msgspec
from yarl import URL

from dockrion.client.errors import ConnectionLost, unreachable
from dockrion.load.display import ProgressLine, table
from dockrion.load.html_report import html_report
from dockrion.load.measurements import Measurements, Point, Series
from dockrion.load.options import Options, add_arguments, options
from dockrion.load.processes import run_test
from dockrion.load.result import Result, result

_CONNECT_SECONDS = 10.0
_OTHER_FILES = 64  # of the interpreter, and of connections that are being closed


def add_load(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion load`."""
    add_arguments(parser)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run a load test, and print its result.

    Returns:
        The exit code: 1 if there was an error or a violation, no success, or no service.
    """
    try:
        test = options(arguments)
        raise_file_limit(test)
    except ValueError as error:
        arguments.usage_error(str(error))  # which exits
        raise
    try:
        asyncio.run(_connect(URL(test.url).with_user(None)))
    except ConnectionLost as error:
        print(error, file=sys.stderr)  # noqa: T201  its output
        return 1
    outcome = asyncio.run(load(test))
    print(table(outcome), end="")  # noqa: T201  its output
    written = [
        _write(arguments.json, msgspec.json.format(msgspec.json.encode(outcome)) + b"\n"),
        _write(arguments.html, html_report(outcome).encode()),
    ]
    return 0 if outcome.ok and all(written) else 1


def raise_file_limit(test: Options) -> None:
    """Let this process, and those that it starts, open as many files as the test needs.

    Raises:
        ValueError: The system does not allow so many.
    """
    share = -(-test.concurrency // test.processes)
    needed = share * max(test.readers, 1) + share + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ValueError(
            f"this needs {needed:,} open files in a process, and the system allows {hard:,}: "
            "use more --processes, or fewer concurrent runs and readers"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def load(test: Options) -> Result:
    """Carry out a test; Ctrl-C ends it early."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    line, series = ProgressLine(test, sys.stdout), Series()

    def show(measurements: Measurements) -> None:
        series.add(_point(measurements))
        line.show(measurements)

    try:
        measurements = await run_test(test, show, stop)
    finally:
        line.clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    series.add(_point(measurements))
    return result(test, measurements, [_point(Measurements()), *series.points], ended_early=stop.is_set())


async def _connect(service: URL) -> None:
    """Connect once, since a test without a service has no result.

    Raises:
        ConnectionLost: There is no service.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(service.host, service.port)
    except OSError as error:
        raise unreachable(error, service) from None
    writer.close()


def _point(measurements: Measurements) -> Point:
    return Point(measurements.seconds, measurements.ended, measurements.events, measurements.received)


def _write(path: Path | None, content: bytes) -> bool:
    if path is None:
        return True
    try:
        path.write_bytes(content)
    except OSError as error:
        print(f"cannot write {path}: {error.strerror}", file=sys.stderr)  # noqa: T201  its output
        return False
    return True
