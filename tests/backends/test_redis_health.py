"""The state of Redis: what each kind of failure makes of it, and what is logged."""

import logging

import pytest
from redis import exceptions

from dockrion.backends.redis.failures import ADVICE
from dockrion.backends.redis.health import _TRANSITIONS, Health, HealthMonitor, Observer, RoundEvent
from dockrion.errors import CorruptLog, ServiceUnavailable
from tests.backends.trouble import Logged

UNREACHABLE = exceptions.ConnectionError("refused")
OUT_OF_MEMORY = exceptions.OutOfMemoryError("OOM command not allowed")
WRONG_TYPE = exceptions.ResponseError("WRONGTYPE Operation against a key")


def fail(monitor: HealthMonitor, error: Exception) -> Exception:
    """Let a command of a round fail, and the round with it."""
    raised = monitor.command_failed(error, monitor.recoveries)
    monitor.round_failed(raised)
    return raised


def test_every_finding_has_a_transition_from_every_state() -> None:
    assert set(_TRANSITIONS) == set(RoundEvent)
    assert all(set(after) == set(Health) for after in _TRANSITIONS.values())


@pytest.mark.parametrize(
    ("error", "after", "raised"),
    [
        (UNREACHABLE, [Health.UNREACHABLE] * 3, ServiceUnavailable),
        (OUT_OF_MEMORY, [Health.DEGRADED] * 3, ServiceUnavailable),
        (WRONG_TYPE, [Health.DEGRADED, Health.DEGRADED, Health.UNREACHABLE], CorruptLog),
    ],
    ids=["unreachable", "out of memory", "wrong type"],
)
def test_a_failed_round_changes_the_state(
    error: Exception, after: list[Health], raised: type[Exception]
) -> None:
    for before, expected in zip(Health, after, strict=True):
        monitor = HealthMonitor()
        monitor.state = before
        assert type(fail(monitor, error)) is raised
        assert monitor.state is expected


def test_a_write_makes_redis_reachable_and_a_completed_round_healthy() -> None:
    monitor = HealthMonitor()
    fail(monitor, UNREACHABLE)
    assert monitor.failure_seen.is_set()
    assert not monitor.written()
    assert not monitor.failure_seen.is_set()
    assert monitor.state is Health.DEGRADED
    monitor.round_completed()
    assert monitor.written()


def test_a_kind_of_failure_is_logged_once_per_outage(logged: Logged) -> None:
    monitor = HealthMonitor()
    for _ in range(2):
        for _ in range(3):
            fail(monitor, UNREACHABLE)
            fail(monitor, exceptions.ConnectionError("No connection available."))
        monitor.round_completed()
    assert logged.redis_errors() == ["UNREACHABLE"] * 2
    assert len(logged.fields("redis has recovered")) == 2


def test_a_failure_of_an_earlier_outage_is_not_logged_as_one_of_now(logged: Logged) -> None:
    monitor = HealthMonitor()
    fail(monitor, OUT_OF_MEMORY)
    monitor.round_completed()
    assert isinstance(monitor.command_failed(OUT_OF_MEMORY, 0), ServiceUnavailable)
    assert logged.redis_errors() == ["OOM"]
    assert monitor.failure_seen.is_set()
    assert monitor.state is Health.HEALTHY
    fail(monitor, OUT_OF_MEMORY)
    assert logged.redis_errors() == ["OOM", "OOM"]


def test_an_unblocked_reader_is_not_logged(logged: Logged) -> None:
    monitor = HealthMonitor()
    monitor.command_failed(exceptions.ResponseError("UNBLOCKED force unblock from blocking operation"), 0)
    assert logged.redis_errors() == []


def test_a_bug_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    monitor = HealthMonitor()
    monitor.round_failed(ZeroDivisionError("bug"))
    assert monitor.state is Health.DEGRADED
    (record,) = caplog.records
    assert vars(record)["fields"]["kind"] == "BUG"


@pytest.mark.parametrize("code", sorted({*ADVICE} - {"POOL", "UNREACHABLE", "UNBLOCKED", "REFUSED", "LARGE"}))
def test_a_reply_with_a_known_code_has_its_advice(code: str, logged: Logged) -> None:
    HealthMonitor().command_failed(exceptions.ResponseError(f"{code} some text"), 0)
    assert logged.redis_errors() == [code]


def test_a_reply_with_another_code_is_a_refusal(logged: Logged) -> None:
    HealthMonitor().command_failed(exceptions.ResponseError("ERR unknown command"), 0)
    assert logged.redis_errors() == ["REFUSED"]


def test_observer_and_operators_see_each_state_by_name_and_since_when() -> None:
    seen: list[str] = []
    monitor = HealthMonitor(Observer(on_state=seen.append))
    began = monitor.dependency.since
    fail(monitor, UNREACHABLE)
    fail(monitor, UNREACHABLE)
    away = monitor.dependency.since
    assert away > began
    assert monitor.dependency.reason == ADVICE["UNREACHABLE"]
    fail(monitor, OUT_OF_MEMORY)
    assert monitor.dependency.reason == ADVICE["OOM"]
    monitor.written()
    monitor.round_completed()
    assert seen == ["away", "degraded", "up"]
    assert not monitor.dependency.reason
    assert monitor.dependency.since > away
