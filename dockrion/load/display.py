"""What is printed: a progress line during the test, and a table at its end."""

import shutil
import time
from typing import TextIO

from dockrion.console.screen import CLEAR_LINE, printable
from dockrion.load.measurements import Measurements
from dockrion.load.options import Options
from dockrion.load.result import Result, most_frequent_first

PLAIN_INTERVAL = 5.0


class ProgressLine:
    """A line with the progress, rewritten on a terminal and printed every few seconds elsewhere.

    Args:
        options: The test.
        out: Where to print.
    """

    def __init__(self, options: Options, out: TextIO) -> None:
        self._out = out
        self._of = f" of {options.runs:,}" if options.runs is not None else ""
        self._terminal = out.isatty()
        self._previous = (0.0, 0, 0)
        self._printed = time.monotonic()

    def show(self, measurements: Measurements) -> None:
        """Show the progress."""
        if not self._terminal and time.monotonic() - self._printed < PLAIN_INTERVAL:
            return
        self._printed = time.monotonic()
        line = self._line(measurements)
        if self._terminal:
            line = f"{CLEAR_LINE}{line[: shutil.get_terminal_size().columns - 1]}"
        self._out.write(line if self._terminal else f"{line}\n")
        self._out.flush()

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal:
            self._out.write(CLEAR_LINE)

    def _line(self, measurements: Measurements) -> str:
        seconds, runs, events = self._previous
        interval = max(measurements.seconds - seconds, 1e-9)
        run_rate = (measurements.ended - runs) / interval
        event_rate = (measurements.events - events) / interval
        self._previous = (measurements.seconds, measurements.ended, measurements.events)
        violations = f", {count:,} violations" if (count := sum(measurements.violations.values())) else ""
        return (
            f"{measurements.seconds:5.1f} s  {measurements.ended:,}{self._of} runs, "
            f"{run_rate:,.1f}/s, {event_rate:,.0f} events/s, "
            f"{measurements.open:,} streams open, {sum(measurements.errors.values()):,} errors{violations}"
        )


def table(result: Result) -> str:
    lines = [
        f"{result.url}, {result.pattern}, {result.concurrency:,} concurrent runs, {result.seconds:.1f} s",
        "",
        *(f"{name:<20}{count:>16}  {rate}".rstrip() for name, count, rate in result.totals),
        "",
        f"{'':<20}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}{'count':>14}",
    ]
    for name, *cells, count in result.spread_rows:
        lines.append(f"{name:<20}" + "".join(f"{cell:>10}" for cell in cells) + f"{count:>14}")
    lines += ["", *_counts("errors", result.errors), *_counts("violations", result.violations)]
    lines += [f"    {printable(example)}" for example in result.examples]
    if result.notes:
        lines += ["", *result.notes]
    return "\n".join(lines) + "\n"


def _counts(title: str, counts: dict[str, int]) -> list[str]:
    return [
        f"{title}: {sum(counts.values()):,}",
        *(f"{count:>10,}  {printable(kind)}" for kind, count in most_frequent_first(counts)),
    ]
