"""Logs: one JSON object per line, secrets masked."""

import fcntl
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.caller import NO_REQUEST, CallerRequest, set_current_request
from dockrion.logs import LEVELS, JsonFormatter, configure, log, parse_logger_levels
from dockrion.redaction import Redactor

SECRET = "s3cr3t-key"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Lines:
    """A logger that collects its lines."""

    def __init__(self, *secrets: str) -> None:
        self.formatter = JsonFormatter(Redactor(secrets))
        self.logger = logging.getLogger("tested")
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(self.formatter.format(record))  # type: ignore[method-assign]
        self.logger.handlers[:] = [handler]

    def log(self, message: str = "m", *, error: Any = None, **fields: Any) -> dict[str, Any]:
        log(self.logger, logging.INFO, message, error=error, **fields)
        return self.last()

    def last(self) -> dict[str, Any]:
        line = self.lines[-1]
        assert "\n" not in line
        return dict(json.loads(line))


class Unknown:
    def __str__(self) -> str:
        return f"unknown with {SECRET}"

    __repr__ = __str__


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("broken")

    __repr__ = __str__


def raised(error: Exception) -> Exception:
    """Return an exception that has a traceback."""
    try:
        raise error  # noqa: TRY301  the traceback is the point
    except Exception as caught:
        return caught


def test_a_line_has_time_level_logger_message_and_fields() -> None:
    line = Lines().log("run accepted", run_id="r", seconds=1.5, nothing=None)
    assert list(line) == ["time", "level", "logger", "message", "run_id", "seconds", "nothing"]
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "info",
        "logger": "tested",
        "message": "run accepted",
        "run_id": "r",
        "seconds": 1.5,
        "nothing": None,
    }


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", '"quoted"', "{", "\0", "\udc80"])
def test_any_text_stays_on_one_line(text: str) -> None:
    lines = Lines()
    lines.log(text, field=text, error=raised(ValueError(text)))
    assert len(lines.lines) == 1


@pytest.mark.parametrize("secrets", [(), (SECRET,)])
@pytest.mark.parametrize(
    "value",
    ["\udc80", {"\udc80": 1}, ["\udc80"], {1: 2}, {1}, b"a", Path("/a"), Unknown(), 10**30, float("nan")],
)
def test_a_field_of_any_kind_is_logged(value: Any, secrets: tuple[str, ...]) -> None:
    assert "field" in Lines(*secrets).log(field=value)


def test_a_field_whose_str_raises_does_not_lose_the_line() -> None:
    assert Lines().log("message", field=NoText())["message"] == "message"


def test_an_exception_is_logged_with_its_traceback() -> None:
    line = Lines().log(error=raised(ValueError("bad")))
    assert "Traceback" in line["traceback"]
    assert line["traceback"].endswith("ValueError: bad")


def test_the_traceback_of_a_large_exception_is_cut() -> None:
    line = Lines(SECRET).log(error=raised(ValueError(f"x{SECRET}" * 2**20)))
    assert line["traceback"].startswith("Traceback")
    assert len(line["traceback"]) <= 2**16
    assert SECRET[:4] not in line["traceback"]


def test_without_an_exception_there_is_no_traceback() -> None:
    assert "traceback" not in Lines().log(error=None)


@pytest.mark.parametrize(
    "fields",
    [
        {"message": f"with {SECRET}"},
        {"field": SECRET},
        {"field": {"a": [SECRET]}},
        {"field": {SECRET: 1}},
        {"field": Unknown()},
        {"field": [Unknown()]},
        {"field": Path(f"/srv/{SECRET}")},
        {"field": ValueError(SECRET)},
        {"field": {SECRET}},
        {"error": raised(ValueError(SECRET))},
        {"error": raised(ValueError(f"x\n{SECRET}"))},
    ],
    ids=lambda fields: str({key: type(value).__name__ for key, value in fields.items()}),
)
def test_a_secret_is_nowhere_in_a_line(fields: dict[str, Any]) -> None:
    lines = Lines(SECRET)
    lines.log(**fields)
    assert SECRET not in lines.lines[-1]
    assert "***" in lines.lines[-1]


def test_a_secret_in_the_cause_of_an_exception_is_masked() -> None:
    error = ValueError("outer")
    error.__cause__ = raised(KeyError(SECRET))
    assert SECRET not in Lines(SECRET).log(error=raised(error))["traceback"]


def test_a_secret_among_the_arguments_of_an_agents_log_is_masked() -> None:
    lines = Lines(SECRET)
    lines.logger.info("key %s of %d", SECRET, 5)
    assert lines.last()["message"] == "key *** of 5"


@pytest.mark.parametrize(
    "extra", [{"user": 1}, {"fields": {"a": 1}}, {"fields": "text"}, {"fields": ["a"]}, {"fields": None}]
)
def test_extra_attributes_of_agent_logs_do_not_break_the_line(extra: dict[str, Any]) -> None:
    lines = Lines()
    lines.logger.info("mine", extra=extra)
    assert lines.last()["message"] == "mine"


def test_levels_have_the_names_of_the_dockfile() -> None:
    assert set(LEVELS) == {"debug", "info", "warn", "error"}


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, restored after the test."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()  # `configure` would close pytest's handlers
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_records_at_or_above_the_level_go_to_stdout(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], level: str, expected: list[str]
) -> None:
    configure(level, Redactor([SECRET]))
    logger = logging.getLogger("agent.own")
    for each in (logger.debug, logger.info, logger.warning, logger.error):
        each("got %s", SECRET)
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["level"] for line in lines] == expected
    assert {line["message"] for line in lines} == {"got ***"}
    assert err == ""
    assert len(root.handlers) == 1


def test_configuring_twice_does_not_log_twice(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("info", Redactor())
    configure("info", Redactor())
    root.info("once")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_arguments_that_do_not_match_the_format_do_not_lose_the_line() -> None:
    lines = Lines(SECRET)
    lines.logger.info("%d items", SECRET)
    assert lines.lines[-1].count("%d items") == 1
    assert SECRET not in lines.lines[-1]


WRITES_LINES = """
import logging, sys
from dockrion import logs
from dockrion.logs import configure
from dockrion.redaction import Redactor

worker, count, size, logs._LOCK_SECONDS = map(int, sys.argv[1:])
configure("info", Redactor(()), shared=True, worker=worker)
for number in range(count):
    logging.info("%s", "x" * size)
    print(f'{{"worker": {worker}, "printed": {number}}}')
"""


@contextmanager
def writers(count: int, *arguments: int) -> Iterator[tuple[int, int]]:
    """Start processes that log to one pipe, and yield its two ends; wait for the processes at the end."""
    reads, writes = os.pipe()
    try:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITES_LINES, str(worker), *map(str, arguments)], stdout=writes
            )
            for worker in range(count)
        ]
        yield reads, writes
        assert [process.wait(60) for process in processes] == [0] * count
    finally:
        os.close(reads)


def test_long_lines_of_several_processes_do_not_mix() -> None:
    with writers(3, 50, 100_000, 60) as (reads, writes):
        os.close(writes)
        with os.fdopen(os.dup(reads), "rb") as pipe:
            lines = [json.loads(line) for line in pipe]
    for worker in range(3):
        own = [line for line in lines if line["worker"] == worker]
        assert [line["printed"] for line in own if "printed" in line] == list(range(50))
        assert sum(line.get("message") == "x" * 100_000 for line in own) == 50


SHOWS_LAST_BYTES = """
import os
from dockrion.logs import configure
from dockrion.redaction import Redactor

write = os.write
os.write = lambda descriptor, data: write(descriptor, data[-1:]) and len(data)
configure("info", Redactor(()), shared=True)
for size in 1, 5_000, 9_000, 500_000:
    print("x" * size)
"""


def test_printed_line_is_one_write_with_its_line_break() -> None:
    result = subprocess.run([sys.executable, "-c", SHOWS_LAST_BYTES], capture_output=True, check=True)
    assert result.stdout == b"\n" * 4


def test_frozen_process_stops_the_lines_of_others_only_once_and_only_for_a_moment() -> None:
    with writers(1, 10, 10, 1) as (reads, writes):
        fcntl.lockf(writes, fcntl.LOCK_EX)
        data, began = b"", 0.0
        while data.count(b"\n") < 20:
            data += os.read(reads, 1000)
            began = began or time.monotonic()
        assert time.monotonic() - began < 15  # the 19 others would each have waited for a second
        os.close(writes)
    assert data.count(b'"message":"xxxxxxxxxx"') == 10


class FakeRun:
    """A run that logs."""

    run_id = "r"
    redactor = Redactor(["answer-of-a-person"])

    def __init__(self, traceparent: str | None = None, request_id: str | None = None) -> None:
        self.request = CallerRequest(traceparent, request_id=request_id)

    def at_end(self, callback: Callable[[], None]) -> None:
        raise AssertionError(callback)


@pytest.mark.parametrize(
    ("run", "fields"),
    [
        (None, {}),
        (FakeRun(), {"run_id": "r"}),
        (FakeRun(TRACE), {"run_id": "r", "trace_id": TRACE[3:35], "span_id": TRACE[36:52]}),
        (FakeRun(request_id="q"), {"run_id": "r", "request_id": "q"}),
        (FakeRun(f"01{TRACE[2:]}-more"), {"run_id": "r", "trace_id": TRACE[3:35], "span_id": TRACE[36:52]}),
    ],
)
def test_a_line_carries_the_run_that_logs_it(run: FakeRun | None, fields: dict[str, str]) -> None:
    lines = Lines()
    lines.formatter = JsonFormatter(Redactor(), lambda: run, worker=1)
    line = lines.log()
    assert {name: value for name, value in line.items() if name.endswith("_id")} == fields
    assert line["worker"] == 1
    assert lines.log(run_id="other")["run_id"] == "other"


def test_a_line_outside_a_run_carries_the_request_that_logs_it() -> None:
    lines = Lines(SECRET)

    def ids(request: CallerRequest) -> dict[str, str]:
        set_current_request(request)
        return {name: value for name, value in lines.log().items() if name.endswith("_id")}

    trace = {"trace_id": TRACE[3:35], "span_id": TRACE[36:52]}
    for request, expected in (
        (CallerRequest(TRACE, request_id="q"), {"request_id": "q", **trace}),
        (CallerRequest(request_id=SECRET), {"request_id": "***"}),
        (NO_REQUEST, {}),
    ):
        assert copy_context().run(ids, request) == expected


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("", {}),
        (" ", {}),
        ("dockrion.requests=warn", {"dockrion.requests": logging.WARNING}),
        (" httpx = error , stdout=warning,my-agent=debug", {"httpx": 40, "stdout": 30, "my-agent": 10}),
    ],
)
def test_levels_of_loggers_are_read(text: str, levels: dict[str, int]) -> None:
    assert parse_logger_levels(text) == levels


@pytest.mark.parametrize(
    "text",
    [
        *("info", "a=loud", "a=", "=info", "a=10", "a=INFO", "a=info,", "a=info,a=warn"),
        *("a.=info", "a=b=info", "a b=info", "a\nb=info", "x" * 100_000),
    ],
)
def test_other_levels_are_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"logger=level|two levels") as refused:
        parse_logger_levels(text)
    assert len(str(refused.value)) < 250
    assert "\n" not in str(refused.value)


def test_what_a_run_logs_has_none_of_its_own_secrets() -> None:
    lines = Lines()
    lines.formatter = JsonFormatter(Redactor(), FakeRun)
    error = ValueError("answer-of-a-person")
    line = lines.log("answer-of-a-person", error=error, field="answer-of-a-person")
    assert "answer-of-a-person" not in json.dumps(line)
    assert (line["message"], line["field"]) == ("***", "***")


QUOTED = 'q"uo\\te\n'
TEXTS = st.lists(
    st.sampled_from(
        [
            SECRET,
            "tok3n",
            QUOTED,
            repr(QUOTED)[1:-1],
            "%0a",
            "\\n",
            '"',
            "\\",
            "\n",
            " ",
            "x",
            "é",
            "\udc80",
            ",",
        ]
    )
).map("".join)
PLAIN = TEXTS | st.integers() | st.floats() | st.booleans() | st.none()


@given(message=TEXTS, fields=st.dictionaries(TEXTS, PLAIN, max_size=3))
def test_line_is_masked_as_each_of_its_values_would_be(message: str, fields: dict[str, Any]) -> None:
    redactor = Redactor([SECRET, "tok3n", QUOTED])
    record = logging.makeLogRecord({"msg": message, "fields": fields})
    line = json.loads(JsonFormatter(redactor).format(record))
    for name in ("time", "level", "logger"):
        del line[name]
    masked = {redactor.mask(name): _json_number(redactor.mask_value(value)) for name, value in fields.items()}
    assert line == {"message": redactor.mask(message.rstrip("\n"))} | masked


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
