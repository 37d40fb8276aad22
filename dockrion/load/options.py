"""What is asked of a load test."""

import argparse
import math
from pathlib import Path
from typing import Literal

import msgspec

from dockrion.console.arguments import header, url

Pattern = Literal["stream", "runs", "invoke"]
_PATTERNS: tuple[Pattern, ...] = ("stream", "runs", "invoke")
_DEFAULT_RUNS = 100
_MOST = 1_000_000
_MOST_PROCESSES = 64


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a load test does, or a process its share of it.

    Attributes:
        url: The service.
        pattern: What a run is asked for with.
        payload: The body of each request.
        runs: How many runs, None for as many as there is time for.
        duration: Seconds in which runs are begun, None for no end.
        concurrency: Runs at a time.
        readers: Readers of each run.
        reconnect: How likely a reader leaves after some events, and comes back.
        slow_readers: How many of the readers read slowly.
        headers: More headers of each request.
        processes: How many processes ask.
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
    headers: list[tuple[str, str]] = []
    processes: int = 1

    def is_slow(self, user: int, reader: int) -> bool:
        """Whether a user's reader is one of the slow: they are spread over the users."""
        return reader * self.concurrency + user < self.slow_readers

    def shares(self) -> list["Options"]:
        """Split the test over its processes."""
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
    """Add what may be asked for."""
    parser.add_argument("url", type=url, metavar="URL", help="http://host:port of the service")
    parser.add_argument(
        "--pattern",
        choices=_PATTERNS,
        default="stream",
        help="POST /invoke/stream (the default); POST /runs and readers of its events; POST /invoke",
    )
    parser.add_argument(
        "--payload", type=_payload, default=b"{}", metavar="FILE|JSON", help="the body of each request"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--runs", type=_count, metavar="N", help=f"by default {_DEFAULT_RUNS}")
    end.add_argument("--duration", type=_seconds, metavar="S", help="begin runs for so many seconds instead")
    parser.add_argument(
        "--concurrency", type=_count, default=10, metavar="C", help="runs at a time, by default 10"
    )
    parser.add_argument("--readers", type=_count, default=1, metavar="R", help="of each run")
    parser.add_argument(
        "--reconnect",
        type=_probability,
        default=0.0,
        metavar="P",
        help="0 to 1: how likely a reader, whenever it gets events, leaves and resumes",
    )
    parser.add_argument(
        "--slow-readers", type=_whole, default=0, metavar="K", help="so many readers read slowly"
    )
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="NAME:VALUE", help="may be repeated"
    )
    parser.add_argument("--processes", type=_processes, default=1, metavar="N", help="of this client")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--html", type=_file, metavar="FILE", help="write the result as a page")
    parser.set_defaults(refuse=parser.error)


def options(asked: argparse.Namespace) -> Options:
    """Return the options.

    Raises:
        ValueError: They do not go together.
    """
    if asked.pattern != "runs" and asked.readers != 1:
        raise ValueError("--readers needs --pattern runs")
    if asked.pattern == "invoke" and (asked.reconnect or asked.slow_readers):
        raise ValueError("--reconnect and --slow-readers need a pattern with events")
    if asked.slow_readers > asked.concurrency * asked.readers:
        raise ValueError("--slow-readers is more than there are readers at a time")
    if asked.processes > asked.concurrency:
        raise ValueError("--processes is more than --concurrency")
    no_end = asked.runs is None and asked.duration is None
    return Options(
        url=asked.url,
        pattern=asked.pattern,
        payload=asked.payload,
        runs=_DEFAULT_RUNS if no_end else asked.runs,
        duration=asked.duration,
        concurrency=asked.concurrency,
        readers=asked.readers,
        reconnect=asked.reconnect,
        slow_readers=asked.slow_readers,
        headers=asked.header,
        processes=asked.processes,
    )


def _payload(text: str) -> bytes:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _content(text)
    return text.encode()


def _content(name: str) -> bytes:
    try:
        content = Path(name).read_bytes()
        msgspec.json.decode(content)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"neither JSON nor a file: {name} ({error.strerror})") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name} is not JSON: {error}") from error
    return content


def _whole(text: str, least: int = 0, most: int = _MOST) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"expected {least} to {most}, got {text}")
    return int(text)


def _count(text: str) -> int:
    return _whole(text, 1)


def _processes(text: str) -> int:
    return _whole(text, 1, _MOST_PROCESSES)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text}") from None


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text}")
    return seconds


def _probability(text: str) -> float:
    probability = _number(text)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return probability


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write there: {text}")
    return path
