"""What is printed: a line while it runs, and a table at the end."""

import shutil
import time
from typing import TextIO

from dockrion.console.terminal import CLEAR_LINE, printable
from dockrion.load.measurements import Figures
from dockrion.load.options import Options
from dockrion.load.result import Result, duration

PLAIN_SECONDS = 5.0


class Live:
    """The line that says how far it is: rewritten on a terminal, printed now and then elsewhere.

    Args:
        options: The test.
        out: Where to print.
    """

    def __init__(self, options: Options, out: TextIO) -> None:
        self._out = out
        self._of = f" of {options.runs:,}" if options.runs is not None else ""
        self._terminal = out.isatty()
        self._before = (0.0, 0, 0)
        self._printed = time.monotonic()

    def show(self, figures: Figures) -> None:
        """Show where it is."""
        if not self._terminal and time.monotonic() - self._printed < PLAIN_SECONDS:
            return
        self._printed = time.monotonic()
        line = self._line(figures)
        if self._terminal:
            line = f"{CLEAR_LINE}{line[: shutil.get_terminal_size().columns - 1]}"
        self._out.write(line if self._terminal else f"{line}\n")
        self._out.flush()

    def clear(self) -> None:
        """Make room for the table."""
        if self._terminal:
            self._out.write(CLEAR_LINE)

    def _line(self, figures: Figures) -> str:
        then, runs, events = self._before
        apart = max(figures.seconds - then, 1e-9)
        self._before = (figures.seconds, figures.ended, figures.events)
        broken = f", {count:,} violations" if (count := sum(figures.violations.values())) else ""
        return (
            f"{figures.seconds:5.1f} s  {figures.ended:,}{self._of} runs, "
            f"{(figures.ended - runs) / apart:,.1f}/s, {(figures.events - events) / apart:,.0f} events/s, "
            f"{figures.open:,} streams open, {sum(figures.errors.values()):,} errors{broken}"
        )


def table(found: Result) -> str:
    """Return the table."""
    lines = [
        f"{found.url}, {found.pattern}, {found.concurrency:,} runs at a time, {found.seconds:.1f} s",
        "",
        *(f"{name:<20}{count:>16}  {rate}".rstrip() for name, count, rate in found.totals),
        "",
        f"{'':<20}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}{'count':>14}",
    ]
    for name, spread in found.spreads.items():
        values = (spread.p50, spread.p90, spread.p99, spread.max)
        cells = [duration(value) if spread.count else "-" for value in values]
        lines.append(f"{name:<20}" + "".join(f"{cell:>10}" for cell in cells) + f"{spread.count:>14,}")
    lines += ["", *_counted("errors", found.errors), *_counted("violations", found.violations)]
    lines += [f"    {printable(example)}" for example in found.examples]
    if found.notes:
        lines += ["", *found.notes]
    return "\n".join(lines) + "\n"


def _counted(title: str, counts: dict[str, int]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [
        f"{title}: {sum(counts.values()):,}",
        *(f"{count:>10,}  {printable(kind)}" for kind, count in ordered),
    ]
