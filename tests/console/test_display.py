"""What is shown of a run, and the arguments of client commands."""

import argparse
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from dockrion.client import (
    Cancelled,
    Checkpoint,
    Complete,
    Custom,
    Error,
    Event,
    Gap,
    Heartbeat,
    Progress,
    Started,
    Step,
    Token,
)
from dockrion.console.arguments import header, payload, url
from dockrion.console.display import CLEAR_LINE, Display

COMMON: dict[str, Any] = {"id": "r:1", "run_id": "r", "sequence": 1, "timestamp": datetime.now(UTC)}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(*events: Event | Gap, out: StringIO | None = None) -> tuple[str, str]:
    out, err = out or StringIO(), StringIO()
    display = Display(out, err)
    for event in events:
        display.show(event)
    return out.getvalue(), err.getvalue()


def progress(share: float, message: str | None = None) -> Progress:
    return Progress(**COMMON, step="work", progress=share, message=message)


def token(content: str) -> Token:
    return Token(**COMMON, content=content)


def complete(output: Any) -> Complete:
    return Complete(**COMMON, output=output, latency_seconds=0.1, metadata={})


def test_text_is_continuous_and_all_else_has_its_own_line() -> None:
    out, err = shown(
        Started(**COMMON, agent_name="a", framework="custom"),
        token("Hel"),
        token("lo"),
        Step(**COMMON, node_name="n", duration_ms=1234.5),
        Step(**COMMON, node_name="m"),
        token("line\n"),
        token(""),
        progress(0.5, "half"),
        Checkpoint(**COMMON, name="c", data=[1]),
        Custom(**COMMON, type="custom:x", name="mood", data={"happy": True}),
        Custom(**COMMON, type="custom:x", name="bare", data={}),
        Heartbeat(**COMMON),
        Gap(requested=1, first_available=5),
        complete({"a": "b"}),
    )
    assert err == ""
    assert out.splitlines() == [
        "Hello",
        "* n (1,234 ms)",
        "* m",
        "line",
        " 50% work: half",
        "* checkpoint c: [1]",
        '* mood: {"happy":true}',
        "* bare: -",
        "! events 1 to 4 are no longer stored",
        "{",
        '  "a": "b"',
        "}",
    ]


@pytest.mark.parametrize(
    ("event", "shown_status"),
    [
        (Error(**COMMON, error="it broke", code="A_CODE"), "failed: it broke (A_CODE)\n"),
        (Cancelled(**COMMON, reason="enough"), "cancelled: enough\n"),
        (Cancelled(**COMMON), "cancelled\n"),
    ],
)
def test_a_failure_is_shown_apart_from_the_output(event: Event, shown_status: str) -> None:
    assert shown(token("x"), event) == ("x\n", shown_status)


def test_a_terminal_has_one_redrawn_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    events = [token("Hi"), progress(0.0), progress(0.5, "half"), token("!"), progress(1.0, "x" * 99)]
    out, _ = shown(*events, out=Terminal())
    half = f"[{'#' * 10}{'.' * 10}]  50% work: half"
    last = f"[{'#' * 20}] 100% work: xxxxxxx"
    assert out == f"Hi\n[{'.' * 20}]   0% work{CLEAR_LINE}{half}{CLEAR_LINE}!\n{last[:39]}\n"


@pytest.mark.parametrize("out", [StringIO(), Terminal()])
def test_no_control_character_reaches_the_terminal(out: StringIO) -> None:
    evil = "\x1b[2J\x1b]0;title\x07\r\x08\x9b1m\u202e"
    events = [
        token(evil),
        progress(1.0, evil),
        Step(**COMMON, node_name=evil),
        Checkpoint(**COMMON, name=evil, data=evil),
        Custom(**COMMON, type="custom:x", name="c", data={evil: evil}),
        complete({evil: evil}),
        Error(**COMMON, error=evil, code=evil),
    ]
    for text in shown(*events, out=out):
        assert not [each for each in text if not each.isprintable() and each != "\n"]


def test_a_long_value_is_truncated() -> None:
    out, _ = shown(Checkpoint(**COMMON, name="c", data="x" * 10_000))
    assert len(out) < 400


def test_payloads(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    path.write_bytes(b'{"n": 1}')
    assert payload(f"@{path}") == b'{"n": 1}'
    assert payload(" [1] ") == b" [1] "
    path.write_bytes(b"{")
    for bad in (f"@{path}", f"@{tmp_path}", "@nowhere", "words", "", "[" * 5000):
        with pytest.raises(argparse.ArgumentTypeError):
            payload(bad)


def test_headers_and_urls() -> None:
    assert header("X-A: b:c ") == ("X-A", "b:c")
    for bad in ("X-A", ": b", "X A: b", "X-A: a\nb"):
        with pytest.raises(argparse.ArgumentTypeError) as raised:
            header(bad)
        assert str(raised.value) == "expected NAME:VALUE"
    assert url("http://h:1/base/") == "http://h:1/base"
    for bad in ("h:1", "ftp://h", "http://", "http://h:0", "http://h/?q", "http://h/#f", "http://[::1"):
        with pytest.raises(argparse.ArgumentTypeError):
            url(bad)
