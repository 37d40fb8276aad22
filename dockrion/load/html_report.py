"""The result as a self-contained HTML page."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise

from dockrion.load.measurements import Point
from dockrion.load.result import Result, duration, most_frequent_first

_SIZE = 1000  # of a plot, which is stretched to its place; its labels are not
_MIN_BAR = 3
_MAX_LABELS = 5  # as many as a phone has room for
_MIN_INTERVAL = 0.1  # over less, a rate is chance
_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2430; --soft: #5c6675; --line: #d7dce3; --back: #fff; --mark: #1f6fb5; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ee; --soft: #a3adbb; --line: #39414d; --back: #14181f; --mark: #6db3f2; --bad: #ff8a80;
  }
}
body {
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 760px; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere;
}
h1 { font-size: 1.3rem; }
h2 { font-size: 1.05rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td {
  text-align: right; padding: .2rem clamp(.3rem, 1.5vw, .8rem); border-bottom: 1px solid var(--line);
  overflow-wrap: normal;
}
th { color: var(--soft); font-weight: 600; }
td + td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.plot {
  display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: .5rem;
  margin: 0; padding-right: 2rem; color: var(--soft); font-size: 12px;
}
.plot svg {
  width: 100%; height: clamp(10rem, 40vw, 14rem); overflow: visible;
  border: solid var(--line); border-width: 0 0 1px 1px;
}
.plot .y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; }
.plot .x { grid-column: 2; position: relative; height: 1.5rem; }
.plot .x span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.grid { stroke: var(--line); vector-effect: non-scaling-stroke; }
.bar { fill: var(--mark); }
.curve { fill: none; stroke: var(--mark); stroke-width: 2; vector-effect: non-scaling-stroke; }
.bad { color: var(--bad); }
.note { color: var(--soft); }
"""


def html_report(result: Result) -> str:
    """Return the page."""
    test = (
        f"{result.url.partition('://')[2]}, {result.pattern}, {result.concurrency:,} concurrent runs, "
        f"{result.readers:,} readers of each, {result.seconds:.1f} s"
    )
    verdict = "ok" if result.ok else '<span class="bad">not ok</span>'
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>dockrion load</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>dockrion load: {verdict}</h1>",
        f"<p>{escape(test)}</p>",
        _rows(("", "total", "rate"), result.totals),
        "<h2>Times</h2>",
        _rows(("", "p50", "p90", "p99", "max", "count"), result.spread_rows),
        *_plots(result),
        _counts("Errors", result.errors),
        _counts("Violations", result.violations),
        *(f'<p class="bad">{escape(example)}</p>' for example in result.examples),
        *(f'<p class="note">{escape(note)}</p>' for note in result.notes),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _plots(result: Result) -> Iterator[str]:
    """Draw the plots; `/invoke` has no events."""
    if result.events:
        yield _distribution("Emit to receive", "events", result.emit_to_receive_distribution)
        yield _throughput("Events per second", result.series, lambda point: point.events)
    yield _distribution("Whole run", "runs", result.whole_run_distribution)
    yield _throughput("Runs per second", result.series, lambda point: point.ended)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" if title else "<td></td>" for title in head)
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="wide" tabindex="0"><table><tr>{titles}</tr>{body}</table></div>'


def _counts(title: str, counts: dict[str, int]) -> str:
    rows = [(kind, f"{count:,}") for kind, count in most_frequent_first(counts)]
    listed = _rows(("kind", "count"), rows) if rows else "<p>none</p>"
    return f"<h2>{title}</h2>{listed}"


def _distribution(title: str, of: str, counts: list[tuple[float, int]]) -> str:
    """Draw a histogram of durations on a logarithmic axis."""
    if not counts:
        return f"<h2>{title}</h2><p>none</p>"
    powers = [math.log10(max(seconds, 1e-6)) for seconds, _ in counts]
    low, high = math.floor(min(powers)), math.floor(max(powers)) + 1
    most = max(count for _, count in counts)
    width = max(_MIN_BAR, math.log10(1.03) * _SIZE / (high - low))
    bars = []
    for power, (seconds, count) in zip(powers, counts, strict=True):
        x, y = _x((power - low) / (high - low)), _y(count / most)
        hint = f"<title>{duration(seconds)}: {count:,}</title>"
        bars.append(
            f'<rect class="bar" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_SIZE - y:.1f}">{hint}</rect>'
        )
    step = math.ceil((high - low) / (_MAX_LABELS - 1))
    labels = [((power - low) / (high - low), duration(10.0**power)) for power in range(low, high + 1, step)]
    return _plot(title, f"{of} by duration", "".join(bars), labels, f"{most:,}")


def _throughput(title: str, points: list[Point], count: Callable[[Point], int]) -> str:
    """Draw a rate over time."""
    rates = [
        (before.seconds, after.seconds, (count(after) - count(before)) / (after.seconds - before.seconds))
        for before, after in pairwise(points)
        if after.seconds - before.seconds > _MIN_INTERVAL
    ]
    if not rates:
        return f"<h2>{title}</h2><p>too short to draw</p>"
    end, most = points[-1].seconds, max(rate for _, _, rate in rates) or 1.0
    drawn = " ".join(
        f"{_x(seconds / end):.1f},{_y(rate / most):.1f}"
        for before, after, rate in rates
        for seconds in (before, after)
    )
    curve = f'<polyline class="curve" points="{drawn}"/>'
    last = _MAX_LABELS - 1
    labels = [(0.0, "0 s"), *((part / last, duration(end * part / last)) for part in range(1, _MAX_LABELS))]
    return _plot(title, "over time", curve, labels, f"{most:,.0f}")


def _plot(title: str, about: str, marks: str, labels: list[tuple[float, str]], most: str) -> str:
    lines = "".join(f"M{_x(share):.1f} 0V{_SIZE}" for share, _ in labels[1:])
    texts = "".join(f'<span style="left: {share:.2%}">{label}</span>' for share, label in labels)
    return (
        f"<h2>{title}</h2>"
        f'<div class="plot" role="img" aria-label="{title}, {about}">'
        f'<div class="y"><span>{most}</span><span>0</span></div>'
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" preserveAspectRatio="none">'
        f'<path class="grid" d="{lines}" fill="none"/>{marks}</svg>'
        f'<div class="x">{texts}</div></div>'
    )


def _x(share: float) -> float:
    return share * _SIZE


def _y(share: float) -> float:
    return _SIZE - share * _SIZE
