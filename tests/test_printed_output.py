"""Printed text as lines of the log."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

from dockrion.events import EventFilter
from dockrion.logs import JsonFormatter, LoggedRun
from dockrion.printed_output import MAX_LINE, printed_output_logged
from dockrion.redaction import Redactor
from dockrion.runs.session import RunSession

SECRET = "s3cr3t-key"
KEY = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----"
_run: ContextVar[LoggedRun | None] = ContextVar("tested_run", default=None)


class Log:
    """The lines that were logged, and the runs in whose name code runs."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.handler = logging.StreamHandler(self.text)
        self.redactor = Redactor([SECRET, KEY])
        self.handler.setFormatter(JsonFormatter(self.redactor, _run.get))

    def __enter__(self) -> None:
        # Not in a fixture: pytest replaces the streams between a fixture and its test.
        self._capture = printed_output_logged(self.handler, self.redactor, _run.get)
        self._capture.__enter__()

    def __exit__(self, *_error: object) -> None:
        self._capture.__exit__(None, None, None)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().split("\n")[:-1]]

    @property
    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]

    @property
    def of_runs(self) -> list[tuple[str | None, str]]:
        return [(line.get("run_id"), line["message"]) for line in self.lines]


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def log() -> Log:
    return Log()


def lines_of_stdout() -> Any:
    """Return what is between `sys.stdout` and the log."""
    return sys.stdout.buffer


def run(run_id: str) -> RunSession:
    return RunSession(run_id, EventFilter(), None, redactor=Redactor([SECRET, KEY]))


def within(session: RunSession, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call a function as code of a run."""

    def call() -> None:
        _run.set(session)
        function(*arguments, **options)

    copy_context().run(call)


def test_each_printed_line_is_a_line_of_the_log(log: Log) -> None:
    with log:
        print("one", 2, "three")
        print("a\nb\n")
        print("to stderr", file=sys.stderr)
        assert [(line["logger"], line["level"], line["message"]) for line in log.lines] == [
            ("stdout", "info", "one 2 three"),
            ("stdout", "info", "a"),
            ("stdout", "info", "b"),
            ("stderr", "warning", "to stderr"),
        ]
        assert "run_id" not in log.lines[0]


def test_levels_of_the_log_apply(log: Log, root: logging.Logger) -> None:
    with log:
        root.setLevel(logging.WARNING)
        print("less")
        print("more", file=sys.stderr)
        assert log.messages == ["more"]


def test_line_carries_the_run_that_prints_it_also_in_threads(log: Log) -> None:
    with log:
        session = run("r1")
        within(session, print, "in the run")
        within(session, lambda: asyncio.run(asyncio.to_thread(print, "in its thread")))
        print("outside")
        assert log.of_runs == [("r1", "in the run"), ("r1", "in its thread"), (None, "outside")]


def test_parts_of_lines_of_different_runs_and_threads_do_not_mix(log: Log) -> None:
    with log:
        one, two = run("r1"), run("r2")
        within(one, print, "a", end="", flush=True)
        within(two, print, "b", end="")
        thread = threading.Thread(target=within, args=(one, print, "c"))
        thread.start()
        thread.join()
        within(two, print, "B")
        within(one, print, "A")
        assert log.of_runs == [("r1", "c"), ("r2", "bB"), ("r1", "aA")]


def test_incomplete_line_is_logged_when_its_run_ends(log: Log) -> None:
    with log:
        one, two = run("r1"), run("r2")
        within(one, print, "first", end="")
        within(one, print, "more", end="", file=sys.stderr)
        within(two, print, "second", end="")
        print("none", end="")
        one.seal()
        assert log.of_runs == [("r1", "more"), ("r1", "first")]
        two.seal()
        assert log.of_runs[2:] == [("r2", "second")]


def test_answers_that_are_secret_are_masked_in_what_their_run_prints(log: Log) -> None:
    with log:
        session, other = run("a"), run("b")
        session._emitter.hide({"key": "12345678\n90abcdef", "pin": 4711})
        for each in (session, other):
            within(each, print, "12345678\n90abcdef 4711")
            within(each, print, "pin: 4711", end="")
            each.seal()
    assert log.of_runs == [
        ("a", "*** ***"),
        ("a", "pin: ***"),
        ("b", "12345678"),
        ("b", "90abcdef 4711"),
        ("b", "pin: 4711"),
    ]


def test_what_an_abandoned_agent_prints_is_logged_at_once(log: Log) -> None:
    with log:
        session = run("r1")
        session.seal()
        within(session, print, "late", end="")
        assert log.of_runs == [("r1", "late")]
        assert not lines_of_stdout()._held
        assert lines_of_stdout()._runs == {None}


def test_nothing_is_kept_of_a_run_that_has_ended(log: Log) -> None:
    with log:
        for number in range(3):
            session = run(f"r{number}")
            for _ in range(100):
                within(session, print, "line")
            assert len(session._at_end) == 1
            session.seal()
        assert len(log.lines) == 300
        assert not lines_of_stdout()._held
        assert lines_of_stdout()._runs == {None}


def test_incomplete_lines_are_logged_at_the_end_and_the_streams_are_restored() -> None:
    log, before = Log(), (sys.stdout, sys.stderr)
    with printed_output_logged(log.handler, log.redactor, _run.get):
        print("no end", end="")
        held = sys.stderr
        assert (sys.stdout, sys.stderr) != before
    assert (sys.stdout, sys.stderr) == before
    print("still logged", file=held)
    assert log.messages == ["no end", "still logged"]


def test_stream_that_the_agent_has_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    log, own = Log(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with printed_output_logged(log.handler, log.redactor, _run.get):
        sys.stdout = own
    assert sys.stdout is own


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (f"key {SECRET}\n", ["key ***"]),
        (f"{KEY}\n", ["***"]),
        (KEY, ["***"]),
        (f"a {KEY} b\nc\n", ["a *** b", "c"]),
        ("\n  \n", []),
        ("10%\r20%\r100%\r\n", ["100%"]),
        ("windows\r\n", ["windows"]),
        ("separators \u2028 \x0b \x1c\n", ["separators \u2028 \x0b \x1c"]),
        ("lone \ud800\n", ["lone \\ud800"]),
        ("%s %d {}\n", ["%s %d {}"]),
    ],
)
def test_texts(log: Log, text: str, messages: list[str]) -> None:
    with log:
        print(text, end="")
        lines_of_stdout().log_all()
        assert log.messages == messages
        assert SECRET not in log.text.getvalue()
        assert "ijkl" not in log.text.getvalue()


@pytest.mark.parametrize("position", [*range(MAX_LINE - 12, MAX_LINE + 12), 3 * MAX_LINE - 5])
def test_long_line_becomes_several_and_no_secret_is_split(log: Log, position: int) -> None:
    with log:
        text = "x" * position + SECRET + "y" * MAX_LINE
        for start in range(0, len(text), 10_000):
            print(text[start : start + 10_000], end="")
        assert log.lines
        assert max(map(len, lines_of_stdout()._held.values())) <= MAX_LINE + 10_000
        print()
        assert all(len(message) <= MAX_LINE for message in log.messages)
        assert "".join(log.messages) == text.replace(SECRET, "***")


def test_bytes_are_decoded_also_when_a_character_is_split(log: Log) -> None:
    with log:
        for byte in "schön\n".encode():
            sys.stdout.buffer.write(bytes([byte]))
        sys.stdout.buffer.write(memoryview(b"bad \xff byte\n"))
        sys.stdout.buffer.write(b"split \xc3")
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.write(b"a\nb \xc3")
        print("\N{POUND SIGN}")  # another character: the one before is incomplete
        assert log.messages == ["schön", "bad \\xff byte", "split \\xc3", "a", "b \\xc3\N{POUND SIGN}"]


@pytest.mark.parametrize("wrong", [5, "text", None])
def test_what_is_neither_text_nor_bytes_is_refused(log: Log, wrong: Any) -> None:
    with log:
        with pytest.raises(TypeError):
            sys.stdout.buffer.write(wrong)
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
        assert log.lines == []


def test_streams_behave_as_others_expect() -> None:
    with Path("/dev/null").open("w") as original, redirect_stdout(original):
        log = Log()
        with printed_output_logged(log.handler, log.redactor, _run.get):
            stream: Any = sys.stdout
            assert stream.fileno() == original.fileno()
            assert (stream.isatty(), stream.encoding, stream.name) == (False, "utf-8", "<stdout>")
            assert stream.writable()
            stream.reconfigure(encoding="latin-1", line_buffering=True)
            stream.writelines(["schön\n", "b\n"])
            stream.flush()
            subprocess.run(["echo", "a child's line"], stdout=stream, check=True)
            assert log.messages == ["schön", "b"]


def test_nothing_that_an_agent_closes_keeps_others_from_printing(log: Log) -> None:
    with log:
        with sys.stdout:
            print("one")
        io.TextIOWrapper(sys.stdout.buffer)  # closes what it wraps when it is freed
        sys.stderr.close()
        print("two")
        print("three", file=sys.stderr)
        assert log.messages == ["one", "two", "three"]


def test_handler_of_the_agent_that_prints_does_not_repeat_itself(log: Log, root: logging.Logger) -> None:
    with log:
        root.handlers[:] = [log.handler, logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)]
        root.warning("once")
        print("printed")
        assert [(line["logger"], line["message"]) for line in log.lines] == [
            ("root", "once"),
            ("stdout", "once"),
            ("stderr", "once"),
            ("stdout", "printed"),
        ]


def test_text_of_an_argument_may_print(log: Log, root: logging.Logger) -> None:
    with log:

        class Prints:
            def __str__(self) -> str:
                print("inner")
                return "outer"

        root.handlers[:] = [log.handler]
        root.info("%s", Prints())
        print(Prints())
        assert log.messages == ["inner", "outer", "inner", "outer"]


def test_broken_output_does_not_raise_in_the_agent(capfd: Any) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str, /) -> int:
            raise BrokenPipeError

    raises, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        with printed_output_logged(logging.StreamHandler(Broken()), Redactor(), _run.get):
            print("lost")
    finally:
        logging.raiseExceptions = raises
    assert capfd.readouterr() == ("", "")


def test_warnings_are_logged_with_their_run(log: Log, root: logging.Logger) -> None:
    with log:
        root.handlers[:] = [log.handler]
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)  # as the service does, within what pytest changes
            within(run("r1"), warnings.warn, f"careful with {SECRET}")
        (line,) = log.lines
        assert (line["logger"], line["level"], line["run_id"]) == ("py.warnings", "warning", "r1")
        assert "UserWarning: careful with ***" in line["message"]
        assert not line["message"].endswith("\n")


def test_many_threads_lose_and_mix_nothing(log: Log) -> None:
    with log:

        def work(name: int) -> None:
            for number in range(200):
                print(name, number)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(log.messages) == sorted(
            f"{name} {number}" for name in range(8) for number in range(200)
        )
