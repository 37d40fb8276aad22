"""What is shown of a run, and the arguments of client commands."""

import argparse
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from dockrion.client import (
    Cancelled,
    Checkpoint,
    Complete,
    Custom,
    Error,
    Event,
    Gap,
    Heartbeat,
    InputReceived,
    InputRequested,
    Message,
    Progress,
    Reasoning,
    Started,
    Step,
    Token,
    ToolCall,
    ToolResult,
    Usage,
)
from dockrion.console.arguments import header, payload, url
from dockrion.console.display import Display
from dockrion.console.screen import CLEAR_LINE, Screen

COMMON: dict[str, Any] = {"id": "r:1", "run_id": "r", "sequence": 1, "timestamp": datetime.now(UTC)}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(*events: Event | Gap, out: StringIO | None = None) -> tuple[str, str]:
    out, err = out or StringIO(), StringIO()
    display = Display(Screen(out, err))
    for event in events:
        display.show(event)
    return out.getvalue(), err.getvalue()


def progress(share: float, message: str | None = None) -> Progress:
    return Progress(**COMMON, step="work", progress=share, message=message)


def token(content: str, source: str = "", message_id: str = "") -> Token:
    return Token(**COMMON, content=content, source=source or UNSET, message_id=message_id or UNSET)


def message(content: Any, role: str = "assistant", **fields: Any) -> Message:
    return Message(**COMMON, content=content, role=role, **fields)


def complete(output: Any, **metadata: Any) -> Complete:
    return Complete(**COMMON, output=output, latency_seconds=0.1, metadata=metadata)


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


def test_a_run_that_begins_again_says_so_and_its_text_starts_over() -> None:
    again: dict[str, Any] = {"attempt": 2, "previous": "worker_lost"}
    out, err = shown(
        Started(**COMMON, agent_name="a", framework="custom"),
        token("Hel", message_id="m"),
        Started(**COMMON, agent_name="a", framework="custom", **again),
        token("Hello"),
        message("Hello"),
        message("Hel", message_id="m"),
    )
    assert err == ""
    assert out.splitlines() == [
        "Hel",
        "! begun again, since the process that ran it is gone: attempt 2",
        "Hello",
        "Hel",
    ]


def test_tool_calls_are_numbered_and_shown_with_arguments_and_results() -> None:
    def call(call_id: str, **arguments: Any) -> ToolCall:
        return ToolCall(**COMMON, tool_call_id=call_id, name="search", arguments=arguments, source="clerk")

    def result(call_id: str, value: Any, **fields: Any) -> ToolResult:
        return ToolResult(**COMMON, tool_call_id=call_id, result=value, **{"name": "search"} | fields)

    out, _ = shown(
        token("Let me see", "clerk"),
        call("a", q="rain"),
        call("b"),
        result("b", "no such place", is_error=True, name=None),
        result("a", {"hits": 3}, duration_ms=1234.5, source="clerk"),
        result("unknown", None),
        result("unknown", None, name=None),
    )
    assert out.splitlines() == [
        "[clerk] Let me see",
        '[clerk] > search #1 {"q":"rain"}',
        "[clerk] > search #2",
        '< search #2 failed: "no such place"',
        '[clerk] < search #1 (1,234 ms): {"hits":3}',
        "< search: null",
        "< tool: null",
    ]


def test_reasoning_is_marked_and_faint_on_a_terminal() -> None:
    events = [
        Reasoning(**COMMON, content="Is it"),
        Reasoning(**COMMON, content=" wet?\nIt is."),
        token("Yes."),
    ]
    assert shown(*events)[0] == "~ Is it wet?\n~ It is.\nYes."
    faint = "\x1b[2m~ Is it\x1b[0m\x1b[2m wet?\x1b[0m\n\x1b[2m~ It is.\x1b[0m\nYes."
    assert shown(*events, out=Terminal())[0] == faint


def test_a_message_is_shown_unless_its_tokens_were() -> None:
    out, _ = shown(
        message("Hello?", "user", name="ann"),
        token("By ", message_id="1"),
        token("id", message_id="1"),
        message("By id!", message_id="1"),
        token("By text", "clerk"),
        message("By text", source="clerk"),
        message("Whole", source="clerk", message_id="2"),
        message("Whole", source="clerk"),
        message([{"type": "text", "text": "Look:"}, {"type": "image", "url": "u"}]),
        message(""),
        token("one", message_id="3"),
        token("two", message_id="4"),
        complete(None),
    )
    assert out.splitlines() == [
        "[ann] user: Hello?",
        "By id",
        "[clerk] By text",
        "[clerk] Whole",
        "[clerk] Whole",
        "Look:",
        '{"type":"image","url":"u"}',
        "one",
        "two",
        "null",
    ]


def test_parallel_sources_are_shown_line_by_line() -> None:
    one, other = (
        "The rain in Spain falls mainly in the plain.\n",
        "It rarely does so in the mountains, they say.\n",
    )
    pairs = [pair for letters in zip(one, other, strict=False) for pair in zip(letters, "ab", strict=True)]
    rest = token(other[len(one) :], "b")
    events = [token(letter, source) for letter, source in pairs]
    out, _ = shown(*events, rest, token("short", "a"), token("also", "b"), complete(1))
    assert out.splitlines() == [
        "[a] The rain in Spain falls mainly in the plain.",
        "[b] It rarely does so in the mountains, they say.",
        "[a] short",
        "[b] also",
        "1",
    ]


def test_text_of_one_source_does_not_wait_for_another_without_end() -> None:
    endless = [token("word ", "a"), *(token("x" * 10, "b") for _ in range(9)), token("more", "a")]
    assert shown(*endless)[0] == f"[a] word \n[b] {'x' * 90}"
    many = [token("word ", "a"), *(token("x", f"b{number}") for number in range(30))]
    assert "[b0] x\n" in shown(*many)[0]


def test_usage_is_shown_for_each_request_and_in_total() -> None:
    counts: dict[str, Any] = {"input_tokens": 1200, "output_tokens": 34, "total_tokens": 1234}
    out, _ = shown(
        Usage(**COMMON, model="large", source="clerk", **counts),
        Usage(**COMMON, output_tokens=1),
        complete(1, usage={"large": counts, "unknown": {}, "odd": None}),
        complete(2, usage=7),
    )
    assert out.splitlines() == [
        "[clerk] * usage of large: 1,200 input, 34 output, 1,234 total",
        "* usage of a model: 1 output",
        "* total usage of large: 1,200 input, 34 output, 1,234 total",
        "* total usage of unknown: unknown",
        "1",
        "2",
    ]


def test_questions_are_shown_apart_from_the_output_with_what_they_expect() -> None:
    out, err = shown(
        token("Well"),
        InputRequested(**COMMON, request_id="1", prompt="Send it?", schema={"type": "boolean"}),
        InputReceived(**COMMON, request_id="1", value=True, source="ann"),
        InputRequested(**COMMON, request_id="2", prompt="Password?", expires_at=COMMON["timestamp"]),
        InputReceived(**COMMON, request_id="2"),
    )
    assert out == "Well\n* answered by ann: true\n* answered\n"
    until = f"{COMMON['timestamp'].astimezone():%X}"
    assert err == f"? Send it?\n  (yes or no)\n? Password?\n  (text or JSON; until {until})\n"


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
        token(evil, evil),
        message(evil, evil, name=evil),
        Reasoning(**COMMON, content=evil, source=evil),
        ToolCall(**COMMON, tool_call_id=evil, name=evil, arguments={evil: evil}, source=evil),
        ToolResult(**COMMON, tool_call_id=evil, name=evil, result=evil),
        Usage(**COMMON, model=evil),
        InputRequested(**COMMON, request_id=evil, prompt=evil, schema={"enum": [evil]}),
        InputReceived(**COMMON, request_id=evil, value=evil, source=evil),
        complete({evil: evil}),
        Error(**COMMON, error=evil, code=evil),
    ]
    for text in shown(*events, out=out):
        own = text.replace("\x1b[2m", "").replace("\x1b[0m", "")
        assert not [each for each in own if not each.isprintable() and each != "\n"]


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
    bad_urls = (
        "ftp://h",
        "http://",
        "http://h:0",
        "http://h/?q",
        "http://h/#f",
        "http://[::1",
        "http:h",
        "h:p",
    )
    for bad in bad_urls:
        with pytest.raises(
            argparse.ArgumentTypeError,
            match=re.escape(f"expected host:port, or http(s)://host:port, got {bad}"),
        ):
            url(bad)


@pytest.mark.parametrize(
    "address", ["h:8080", "h", "127.0.0.1:8080", "[::1]:80", "h:80/base/", "user:word@h:80"]
)
def test_an_address_without_a_scheme_is_one_of_http(address: str) -> None:
    assert url(address) == f"http://{address.rstrip('/')}"
