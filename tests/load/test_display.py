"""The progress line, the table, the HTML report and the JSON result."""

import io
from typing import Any

import msgspec
import pytest

from dockrion.load import display
from dockrion.load.html_report import html_report
from dockrion.load.measurements import Measurements, Point
from dockrion.load.options import Options
from dockrion.load.result import Result, duration, result

HOSTILE = '<script>alert(1)</script>"&\x1b[2J'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result_of(measurements: Measurements, **more: Any) -> Result:
    points = [Point(0.0, 0, 0, 0), Point(1.0, 1, 10, 100), Point(2.0, 2, 40, 400)]
    return result(Options(url="http://user:s3cret@h:1", **more), measurements, points, ended_early=False)


def test_a_terminal_has_one_rewritten_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    progress = display.ProgressLine(Options(url="http://h", runs=100), out)
    for number in range(1, 4):
        progress.show(
            Measurements(seconds=number, ended=number * 10, events=number * 100, open=7, errors={"x": 2})
        )
    progress.clear()
    assert "\n" not in out.getvalue()
    lines = out.getvalue().split("\r\x1b[K")
    assert lines[-1] == ""
    assert "30 of 100 runs, 10.0/s, 100 events/s" in lines[-2]
    assert all(len(line) < 60 for line in lines)


def test_elsewhere_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    progress = display.ProgressLine(Options(url="http://h", duration=1), out)
    progress.show(Measurements(seconds=1.0, ended=1))
    assert out.getvalue() == ""
    monkeypatch.setattr(display, "PLAIN_INTERVAL", 0)
    progress.show(Measurements(seconds=2.0, ended=4, events=8, errors={"x": 1}, violations={"lost": 2}))
    progress.clear()
    assert out.getvalue() == ("  2.0 s  4 runs, 2.0/s, 4 events/s, 0 streams open, 1 errors, 2 violations\n")


def test_a_client_that_is_the_limit_is_reported() -> None:
    busy = result_of(Measurements(seconds=1, succeeded=1, cpu=0.99))
    assert "the client is the limit" in display.table(busy)
    assert "the client is the limit" in html_report(busy)
    late = Measurements(seconds=1, succeeded=1)
    late.loop_lag.add(0.2, 100)
    assert "the client is the limit" in display.table(result_of(late))
    assert "the client is the limit" not in display.table(
        result_of(Measurements(seconds=1, succeeded=1, cpu=0.5))
    )


def test_clocks_that_differ_are_reported() -> None:
    measurements = Measurements(seconds=1, succeeded=1)
    measurements.emit_to_receive.add_all([-3.0, 0.1])
    assert "the clocks differ: 1 events" in display.table(result_of(measurements))


def test_errors_and_violations_are_listed_by_frequency() -> None:
    measurements = Measurements(
        seconds=1, errors={"rare": 1, "often": 9}, violations={"lost": 1}, examples=["reader 1: x"]
    )
    table = display.table(result_of(measurements))
    assert table.index("9  often") < table.index("1  rare")
    assert "violations: 1" in table
    assert "reader 1: x" in table


def test_no_password_markup_or_terminal_code_is_shown() -> None:
    measurements = Measurements(seconds=1, errors={HOSTILE: 1}, violations={HOSTILE: 1}, examples=[HOSTILE])
    hostile = result_of(measurements)
    for text in (html_report(hostile), display.table(hostile), msgspec.json.encode(hostile).decode()):
        assert "s3cret" not in text
    assert "<script" not in html_report(hostile)
    assert "\x1b" not in display.table(hostile)


@pytest.mark.parametrize("values", [[], [0.0], [1e-9], [0.001] * 5, [1e-6, 1e6], [-1.0, 5.0]])
def test_any_distribution_can_be_drawn(values: list[float]) -> None:
    measurements = Measurements(seconds=1, succeeded=1, events=1)
    measurements.emit_to_receive.add_all(values)
    drawn = html_report(result_of(measurements))
    assert drawn.count("<rect") == len(measurements.emit_to_receive.distribution())
    assert "nan" not in drawn
    assert "inf" not in drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (1.5e-5, "15 µs"),
        (0.00123, "1.23 ms"),
        (0.5, "500 ms"),
        (2.345, "2.35 s"),
        (4000, "4,000 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_report_has_the_plots_of_its_pattern() -> None:
    measurements = Measurements(seconds=1, succeeded=1)
    measurements.whole_run.add_all([0.1, 0.2])
    invoked = html_report(result_of(measurements, pattern="invoke"))
    assert '<h2>Whole run</h2><div class="plot"' in invoked
    assert '<h2>Runs per second</h2><div class="plot"' in invoked
    assert "Events per second" not in invoked
    measurements.events = 7
    assert '<h2>Events per second</h2><div class="plot"' in html_report(result_of(measurements))


def test_the_json_has_these_fields() -> None:
    spread = {"count": int, "p50": float, "p90": float, "p99": float, "max": float}
    measurements = Measurements(seconds=1.5, ended=1, errors={"x": 1}, violations={"y": 2}, examples=["z"])
    measurements.whole_run.add(1.0)
    assert shape(msgspec.json.decode(msgspec.json.encode(result_of(measurements)))) == {
        "url": str,
        "pattern": str,
        **dict.fromkeys(("concurrency", "readers", "slow_readers", "processes"), int),
        "reconnect": float,
        **dict.fromkeys(("ok", "ended_early"), bool),
        "seconds": float,
        **dict.fromkeys(("runs", "runs_succeeded", "events", "bytes"), int),
        **dict.fromkeys(("runs_per_second", "events_per_second", "bytes_per_second"), float),
        **dict.fromkeys(("reconnects", "slow_readers_disconnected"), int),
        "client_cpu": float,
        **dict.fromkeys(("client_lag", "time_to_first_event", "emit_to_receive"), spread),
        **dict.fromkeys(("between_events", "whole_run"), spread),
        "emit_to_receive_distribution": [],
        "whole_run_distribution": [[float]],
        "errors": {"x": int},
        "violations": {"y": int},
        "examples": [str],
        "notes": [],
        "series": [{"seconds": float, "ended": int, "events": int, "received": int}],
    }


def shape(value: Any) -> Any:
    """Return the types of a JSON value, of a list those of its first."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value)
