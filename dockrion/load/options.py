"""The options of a load test."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from dockrion.console.arguments import add_header, url

Pattern = Literal["stream", "runs", "invoke"]
_PATTERNS: tuple[Pattern, ...] = ("stream", "runs", "invoke")
_DEFAULT_RUNS = 100
_MAX_COUNT = 1_000_000
_MAX_PROCESSES = 64


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a load test does, or one process's share of it.

    Attributes:
        url: The service.
        pattern: How runs are started and read.
        payload: The body of each request.
        runs: The number of runs, None if `duration` limits them.
        duration: Seconds within which runs are started, None if `runs` limits them.
        concurrency: Concurrent runs.
        readers: Readers of each run.
        reconnect: The probability that a reader reconnects after each time it receives events.
        slow_readers: The number of readers that read slowly.
        header: More headers for each request.
        processes: The number of client processes.
    """

    url: str
    pattern: Pattern = "stream"
    payload: bytes = b"{}"
    runs: int | None = None
    duration: float | None = None
    concurrency: int = 10
    readers: int = 1
    reconnect: float = 0.0
    slow_readers: int = 0
    header: list[tuple[str, str]] = []
    processes: int = 1

    def is_slow(self, user: int, reader: int) -> bool:
        """Return whether a user's reader is slow: the slow ones are spread over the users."""
        return reader * self.concurrency + user < self.slow_readers

    def shares(self) -> list["Options"]:
        """Split the test into one share for each process."""
        shares = []
        for number in range(self.processes):
            runs = None if self.runs is None else _part(self.runs, self.processes, number)
            share = msgspec.structs.replace(
                self,
                runs=runs,
                concurrency=_part(self.concurrency, self.processes, number),
                slow_readers=_part(self.slow_readers, self.processes, number),
            )
            if runs != 0:
                shares.append(share)
        return shares


def _part(whole: int, parts: int, number: int) -> int:
    return whole // parts + (number < whole % parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument("url", type=url, metavar="URL", help="the service, host:port or https://host")
    parser.add_argument(
        "--pattern",
        choices=_PATTERNS,
        default="stream",
        help="stream (default): POST /invoke/stream; runs: POST /runs and its events; invoke: POST /invoke",
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--runs", type=_integer(1), metavar="N", help=f"runs (default {_DEFAULT_RUNS})")
    end.add_argument("--duration", type=_seconds, metavar="S", help="start runs for S seconds instead")
    for option, type_, default, metavar, purpose in _OPTIONS:
        parser.add_argument(option, type=type_, default=default, metavar=metavar, help=purpose)
    add_header(parser)
    parser.set_defaults(usage_error=parser.error)


def options(arguments: argparse.Namespace) -> Options:
    """Return the options of parsed arguments.

    Raises:
        ValueError: They contradict each other.
    """
    if arguments.pattern != "runs" and arguments.readers != 1:
        raise ValueError("--readers needs --pattern runs")
    if arguments.pattern == "invoke" and (arguments.reconnect or arguments.slow_readers):
        raise ValueError("--reconnect and --slow-readers need --pattern stream or runs")
    if arguments.slow_readers > arguments.concurrency * arguments.readers:
        raise ValueError("--slow-readers exceeds the number of concurrent readers")
    if arguments.processes > arguments.concurrency:
        raise ValueError("--processes exceeds --concurrency")
    values = {name: getattr(arguments, name) for name in Options.__struct_fields__}
    if arguments.runs is None and arguments.duration is None:
        values["runs"] = _DEFAULT_RUNS
    return Options(**values)


def _payload(text: str) -> bytes:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _read_payload(text)
    return text.encode()


def _read_payload(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
        msgspec.json.decode(content)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"neither JSON nor a readable file: {path} ({error.strerror})"
        ) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path} is not JSON: {error}") from error
    return content


def _integer(least: int, most: int = _MAX_COUNT) -> Callable[[str], int]:
    def parse(text: str) -> int:
        valid = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not (valid and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected {least} to {most}, got {text}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return seconds


def _probability(text: str) -> float:
    probability = _number(text)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return probability


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which is in no range


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write a file there: {text}")
    return path


_OPTIONS: tuple[tuple[str, Callable[[str], object], object, str, str], ...] = (
    ("--payload", _payload, b"{}", "FILE|JSON", "the body of each request (default {})"),
    ("--concurrency", _integer(1), 10, "C", "concurrent runs (default 10)"),
    ("--readers", _integer(1), 1, "R", "readers of each run (default 1)"),
    ("--reconnect", _probability, 0.0, "P", "how likely (0 to 1) a reader reconnects on events (default 0)"),
    ("--slow-readers", _integer(0), 0, "K", "how many of the readers read slowly (default 0)"),
    ("--processes", _integer(1, _MAX_PROCESSES), 1, "N", "client processes (default 1)"),
    ("--json", _file, None, "FILE", "write the result as JSON"),
    ("--html", _file, None, "FILE", "write the result as an HTML page with plots"),
)
