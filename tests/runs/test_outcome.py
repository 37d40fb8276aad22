"""Outcomes: the event, the record and the `/invoke` error of each."""

from typing import Any

import msgspec
import pytest

from dockrion import events
from dockrion.errors import AgentFailed, AgentTimedOut, DockrionError, InvalidOutput, ServiceUnavailable
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome, Stop
from dockrion.runs.outcome_redaction import limited, redacted
from dockrion.runs.tool_policy import ToolDenied

PLAIN = Redactor()
SECRET = Redactor(["s3cr3t-key"])
METADATA = {"agent": "bot"}


def failure(error: BaseException, redactor: Redactor) -> Failed:
    """Return the outcome of an agent that raised, as callers see it."""
    result = limited(redacted(outcome.of_exception(error), redactor), 10_000_000)
    assert isinstance(result, Failed)
    return result


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("broken")


class NoTextAtAll(NoText):
    __repr__ = NoText.__str__


class ExitingModel:
    def model_dump(self) -> Any:
        raise SystemExit(3)


class NoTextKey:
    def __str__(self) -> str:
        raise RuntimeError("broken")

    __repr__ = __str__


class NoTextModel:
    def model_dump(self) -> Any:
        raise NoText


@pytest.mark.parametrize("output", [None, 1, "a", [1], {"a": {"b": 1}}, msgspec.Raw(b"{}")])
def test_an_output_is_completed(output: Any) -> None:
    result = redacted(outcome.of_output(output), PLAIN)
    assert result == Completed(msgspec.json.encode(output), returned=output)
    assert result.status == "completed"


@pytest.mark.parametrize(
    "output",
    [object(), {"a": "\ud800"}, {NoTextKey(): 1}, {"m": NoTextModel()}, ExitingModel()],
    ids=["object", "surrogate", "key without text", "error without text", "exit"],
)
def test_an_output_without_json_form_is_failed_and_raises_nothing(output: Any) -> None:
    try:
        result: Outcome | BaseException = redacted(outcome.of_output(output), PLAIN)
    except BaseException as error:  # SystemExit would end pytest's loop
        result = error
    assert isinstance(result, Failed)
    assert (result.code, result.status) == ("INVALID_OUTPUT", "failed")
    assert result.error.startswith("output")


def test_a_malformed_output_is_named_by_its_path_without_secrets() -> None:
    result = redacted(outcome.of_output({"a": {"s3cr3t-key": [object()]}}), SECRET)
    assert isinstance(result, Failed)
    assert result.error == "output.a.***[0] cannot be JSON: object has no JSON form"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (ValueError(1, 2), "ValueError: (1, 2)"),
        (KeyError("k"), "KeyError: 'k'"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit(), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("at s3cr3t-key!"), "ValueError: at ***!"),
        (ValueError("in /srv/app/x.py"), "ValueError: in <path>"),
        (ValueError("a\udc80"), "ValueError: a\\udc80"),
        (FileNotFoundError(2, "No such file", "/srv/x"), "FileNotFoundError: [Errno 2] No such file: <path>"),
    ],
    ids=repr,
)
def test_an_exception_is_reported_by_type_and_message(error: BaseException, message: str) -> None:
    result = failure(error, SECRET)
    assert result.error == message
    assert result.code == "AGENT_EXECUTION_ERROR"
    assert result.details == {"type": type(error).__name__}
    assert result.raised is error


@pytest.mark.parametrize("error", [NoText(), NoTextAtAll()], ids=["str", "str and repr"])
def test_an_exception_without_text_is_reported_by_its_type(error: Exception) -> None:
    result = failure(error, PLAIN)
    assert result.error.startswith(type(error).__name__)


def test_a_stop_iteration_is_reported_as_itself() -> None:
    error = RuntimeError("coroutine raised StopIteration")
    error.__cause__ = StopIteration("spent")
    assert outcome.of_exception(error).error == "StopIteration: spent"


def test_a_long_message_is_cut_after_it_was_redacted() -> None:
    result = failure(ValueError("x" * 3_985 + "s3cr3t-key" + "y" * 10_000), SECRET)
    assert len(result.error) == 4_000
    assert "s3" not in result.error


STOPS: list[tuple[Stop, Outcome]] = [
    (Stop("cancelled", "why"), Cancelled("why")),
    (Stop("cancelled"), Cancelled(None)),
    (Stop("timeout"), Failed("the agent exceeded its time limit", "TIMEOUT_ERROR")),
    (Stop("shutdown"), Failed("the service is shutting down", "SHUTDOWN")),
    (Stop("lost"), Failed("the run could not be stored", "INTERNAL_ERROR")),
]


@pytest.mark.parametrize(("stop", "expected"), STOPS)
def test_a_stop_has_its_outcome(stop: Stop, expected: Outcome) -> None:
    assert outcome.of_stop(stop) == expected


@pytest.mark.parametrize(
    ("result", "kind", "status", "code"),
    [
        (Failed("m", "AGENT_EXECUTION_ERROR", {"type": "E"}), AgentFailed, 500, "AGENT_EXECUTION_ERROR"),
        (Failed("m", "INVALID_OUTPUT"), InvalidOutput, 500, "INVALID_OUTPUT"),
        (Failed("m", "TIMEOUT_ERROR"), AgentTimedOut, 504, "TIMEOUT_ERROR"),
        (Failed("m", "SHUTDOWN"), ServiceUnavailable, 503, "SERVICE_UNAVAILABLE"),
        (Failed("m", "INTERNAL_ERROR"), DockrionError, 500, "INTERNAL_ERROR"),
        (Failed("m", "OF_AN_AGENT"), AgentFailed, 500, "OF_AN_AGENT"),
        (Cancelled("r"), ServiceUnavailable, 503, "SERVICE_UNAVAILABLE"),
    ],
)
def test_invoke_reports_an_outcome_without_output(
    result: Failed | Cancelled, kind: type[DockrionError], status: int, code: str
) -> None:
    error = outcome.to_exception(result)
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    if isinstance(result, Failed):
        assert (error.message, error.details) == ("m", result.details)


def test_completed_is_a_complete_event_and_a_record_with_the_output() -> None:
    result = Completed(b'{"a":1}', {"output_errors": []})
    kind, fields, changes = outcome.terminal_event(result, 1.5, METADATA)
    everything = {"agent": "bot", "output_errors": []}
    output = msgspec.Raw(b'{"a":1}')
    assert kind == "complete"
    assert fields == {"output": output, "latency_seconds": 1.5, "metadata": everything}
    assert changes == {"output": output, "metadata": everything, "waiting_for": None}
    assert METADATA == {"agent": "bot"}


def test_failed_is_an_error_event_and_the_same_in_the_record() -> None:
    kind, fields, changes = outcome.terminal_event(Failed("m", "C", {"x": 1}, ValueError()), 1.5, METADATA)
    assert kind == "error"
    assert fields == {"error": "m", "code": "C", "details": {"x": 1}}
    assert changes == {"error": fields, "metadata": METADATA, "waiting_for": None}


@pytest.mark.parametrize("reason", ["why", None])
def test_cancelled_is_a_cancelled_event_and_its_reason_in_the_record(reason: str | None) -> None:
    kind, fields, changes = outcome.terminal_event(Cancelled(reason), 1.5, METADATA)
    assert kind == "cancelled"
    assert fields == {"reason": reason}
    assert changes == {"metadata": {"agent": "bot", "reason": reason}, "waiting_for": None}


@pytest.mark.parametrize("result", [Completed(b"1"), Failed("m", "C"), Cancelled(None)])
def test_every_outcome_ends_with_a_terminal_event_that_can_be_encoded(result: Outcome) -> None:
    kind, fields, _ = outcome.terminal_event(result, 1.5, METADATA)
    assert kind in events.TERMINAL
    now = msgspec.convert("2026-01-01T00:00:00Z", type=events.Event.__annotations__["timestamp"])
    assert msgspec.json.decode(events.encode(kind, "r", 1, now, fields))["type"] == kind


def test_the_only_failure_of_a_task_group_is_named_as_itself() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("bad")])])
    failed = outcome.of_exception(group)
    assert (failed.error, failed.details) == ("ValueError: bad", {"type": "ValueError"})


def test_several_failures_of_a_task_group_are_named_as_a_group() -> None:
    group = ExceptionGroup("both", [ValueError("a"), KeyError("b")])
    assert outcome.of_exception(group).details == {"type": "ExceptionGroup"}


def test_a_denied_tool_is_a_violation_also_among_concurrent_calls() -> None:
    both = ExceptionGroup("both", [ToolDenied("a"), ExceptionGroup("inner", [ToolDenied("b")])])
    for error in (ToolDenied("a"), both):
        failed = outcome.of_exception(error)
        assert failed.code == "POLICY_VIOLATION"
        assert failed.error == "ToolDenied: the tool 'a' is not allowed by policies.tools"
    mixed = ExceptionGroup("both", [ToolDenied("a"), KeyError("b")])
    assert outcome.of_exception(mixed).code == "AGENT_EXECUTION_ERROR"


@pytest.mark.parametrize("result", [Completed(b"1", {"a": 1}), Failed("m", "C", {"a": 1}), Cancelled("why")])
def test_denied_tools_are_named_in_every_outcome(result: Outcome) -> None:
    assert outcome.with_denied(result, []) is result
    _, fields, changes = outcome.terminal_event(outcome.with_denied(result, ["x"]), 1.5, METADATA)
    assert changes["metadata"]["denied_tools"] == ["x"]
    assert changes["metadata"]["agent"] == "bot"
    if isinstance(result, Failed):
        assert fields["details"] == {"a": 1, "denied_tools": ["x"]}


def test_details_that_are_not_an_object_are_unchanged() -> None:
    result = outcome.with_denied(Failed("m", "C", [1]), ["x"])
    assert result.metadata == {"denied_tools": ["x"]}
    assert isinstance(result, Failed)
    assert result.details == [1]
