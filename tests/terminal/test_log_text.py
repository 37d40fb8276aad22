"""The log as text."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from dockrion.caller import NO_REQUEST
from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.terminal.log_text import TextFormatter, duration, is_shown
from dockrion.terminal.style import shows_colours

SECRET = "s3cr3t-key"
RUN = "01a226df-87f9-7ad5-a418-8373ddf23945"


class Run:
    """A run that logs."""

    run_id = RUN
    request = NO_REQUEST
    redactor = Redactor([SECRET])

    def at_end(self, callback: Callable[[], None]) -> None:
        raise AssertionError(callback)


def lines(name: str, write: Callable[[logging.Logger], object], **options: Any) -> list[str]:
    """Return the lines that code writes to a logger, each without its time."""
    logger = logging.getLogger(name)
    formatter = TextFormatter(Redactor([SECRET]), options.pop("current_run", lambda: None), **options)
    shown: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(formatter.format(record))  # type: ignore[method-assign]
    handler.addFilter(is_shown)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    try:
        write(logger)
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    return [re.sub(r"^(\x1b\[2m)?\d\d:\d\d:\d\d(\x1b\[0m)? ", "", line) for line in shown]


def line(name: str, message: str, level: int = logging.INFO, /, error: Any = None, **fields: Any) -> str:
    (shown,) = lines(name, lambda logger: log(logger, level, message, error=error, **fields))
    return shown


def request(path: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    return {"method": "GET", "path": path, "status": status, "seconds": 0.0123, **fields}


def test_request_is_a_short_line() -> None:
    assert line("dockrion.requests", "request", **request("/info")) == "GET /info 200 12 ms"


def test_request_names_the_run_that_its_path_does_not() -> None:
    named = line("dockrion.requests", "request", **request("/invoke", run_id=RUN))
    assert named == f"GET /invoke 200 12 ms run {RUN}"
    assert line("dockrion.requests", "request", **request(f"/runs/{RUN}", run_id=RUN)).count(RUN) == 1


@pytest.mark.parametrize(
    ("message", "level", "fields", "shown"),
    [
        ("run running", logging.INFO, {}, "started"),
        ("run running again", logging.INFO, {"attempt": 2, "previous": "worker_lost"}, "started again"),
        ("run completed", logging.INFO, {"seconds": 1.25}, "completed 1.2 s"),
        ("run cancelled", logging.INFO, {"seconds": 0.25, "reason": "enough"}, "cancelled 250 ms: enough"),
        (
            "run failed",
            logging.WARNING,
            {"seconds": 61.0, "code": "TIMEOUT_ERROR", "reason": "it took too long"},
            "failed 1 min 1 s: TIMEOUT_ERROR it took too long",
        ),
    ],
)
def test_change_of_a_run_is_a_line_with_its_id_and_duration(
    message: str, level: int, fields: dict[str, Any], shown: str
) -> None:
    assert line("dockrion.runs", message, level, run_id="r", **fields) == f"run r {shown}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.00012, "0.1 ms"), (0.5, "500 ms"), (30.0, "30 s"), (59.94, "59.9 s"), (125.4, "2 min 5 s")],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_failure_of_a_run_is_followed_by_its_traceback_and_says_the_reason_once() -> None:
    error = ValueError("no good")
    shown = line("dockrion.runs", "run failed", logging.WARNING, error, run_id="r", reason="no good")
    assert shown == "run r failed\nValueError: no good"


def test_traceback_that_is_text_already_is_shown_as_it_is() -> None:
    shown = line("dockrion.runs", "run failed", logging.WARNING, run_id="r", traceback="Traceback\nE: x")
    assert shown == "run r failed\nTraceback\nE: x"


def test_what_agents_print_and_log_stands_beside_the_end_of_the_runs_id() -> None:
    for name, level, shown in (
        ("stdout", logging.INFO, "text"),
        ("stderr", logging.WARNING, "text"),
        ("my.agent", logging.INFO, "my.agent: text"),
        ("my.agent", logging.ERROR, "error my.agent: text"),
    ):
        write = lambda logger, level=level: logger.log(level, "text")  # noqa: E731
        assert lines(name, write, current_run=Run) == [f"…ddf23945 {shown}"]
        assert lines(name, write) == [shown]


def test_lines_after_the_first_one_of_a_message_are_indented() -> None:
    assert lines("my.agent", lambda logger: logger.info("a\n12:00:00 GET / 200")) == [
        "my.agent: a\n  12:00:00 GET / 200"
    ]


def test_other_lines_of_the_service_show_their_fields() -> None:
    shown = line("dockrion.server.supervisor", "worker ready", worker=7, names=["A", "B"])
    assert shown == "worker ready worker=7 names=A, B"
    assert line("dockrion.cli", "bogus: unknown field", logging.WARNING) == "warning: bogus: unknown field"


@pytest.mark.parametrize(
    "write",
    [
        lambda logger: log(logger, logging.INFO, "request", **request(f"/{SECRET}")),
        lambda logger: logger.info("key %s", SECRET),
        lambda logger: logger.info("k s3c\x1b[1mr3t-key"),
        lambda logger: log(logger, logging.INFO, "other", field=[SECRET], more={"a": SECRET}),
        lambda logger: log(logger, logging.ERROR, "broke", error=ValueError(SECRET)),
        lambda logger: log(logger, logging.WARNING, "run failed", run_id="r", traceback=SECRET),
    ],
)
@pytest.mark.parametrize("name", ["dockrion.requests", "dockrion.runs", "my.agent"])
def test_a_secret_is_nowhere_in_a_line(name: str, write: Callable[[logging.Logger], object]) -> None:
    assert SECRET not in "".join(lines(name, write))
    assert "s3c" not in "".join(lines(name, write, current_run=Run))


HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\rd\x9be\u202ef"


@pytest.mark.parametrize("name", ["dockrion.requests", "dockrion.runs", "dockrion.other", "agent", "stdout"])
def test_no_text_of_others_reaches_the_terminal_as_a_control(name: str) -> None:
    shown = lines(
        name,
        lambda logger: log(
            logger,
            logging.ERROR,
            f"run {HOSTILE}",
            error=ValueError(HOSTILE),
            run_id=HOSTILE,
            reason=HOSTILE,
            **request(HOSTILE),
        ),
        agent_package=HOSTILE,
    )
    assert not set("".join(shown)) & set("\x1b\x07\r\x9b\u202e")


def test_colours_of_agents_are_removed() -> None:
    assert lines("stdout", lambda logger: logger.info("\x1b[1;31mred\x1b[0m")) == ["red"]


def test_each_line_names_its_worker() -> None:
    assert lines("stdout", lambda logger: logger.info("text"), worker=12) == ["worker 12 text"]


def test_colours_say_how_it_went() -> None:
    def coloured(status: int) -> str:
        (shown,) = lines(
            "dockrion.requests",
            lambda logger: log(logger, logging.INFO, "request", **request("/", status)),
            colours=True,
        )
        return shown

    assert "\x1b[32m200\x1b[0m" in coloured(200)
    assert "\x1b[33m404\x1b[0m" in coloured(404)
    assert "\x1b[31m500\x1b[0m" in coloured(500)
    (warned,) = lines("dockrion.cli", lambda logger: log(logger, logging.WARNING, "w"), colours=True)
    assert warned == "\x1b[33mwarning: w\x1b[0m"


@pytest.mark.parametrize("path", ["/assets/app.js", "/docs/swagger-ui.css", "/ready"])
def test_what_an_open_page_loads_by_itself_is_shown_only_when_it_fails(path: str) -> None:
    def shown(status: int) -> list[str]:
        fields = request(path, status)
        return lines("dockrion.requests", lambda logger: log(logger, logging.INFO, "request", **fields))

    assert (len(shown(200)), len(shown(304)), len(shown(404))) == (0, 0, 1)
    assert len(shown(503)) == (0 if path == "/ready" else 1)  # which is an answer to its question


class Stream:
    """An output."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environ", "colours"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),  # https://no-color.org: present and not empty
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_unless_they_are_refused(
    terminal: bool, environ: dict[str, str], colours: bool
) -> None:
    assert shows_colours(Stream(terminal=terminal), environ) is colours  # type: ignore[arg-type]


def test_arguments_that_do_not_match_the_format_do_not_lose_the_line() -> None:
    assert lines("agent", lambda logger: logger.info("%d items", "x")) == ["agent: %d items"]


@pytest.mark.parametrize("name", ["dockrion.requests", "dockrion.runs", "agent"])
@pytest.mark.parametrize("message", ["run x", ["not", "text"], None])
@pytest.mark.parametrize("extra", [{"fields": ["a"]}, {"fields": {1: 2}}, {}])
def test_record_of_another_shape_is_a_line(name: str, message: Any, extra: dict[str, Any]) -> None:
    assert len(lines(name, lambda logger: logger.info(message, extra=extra))) == 1
