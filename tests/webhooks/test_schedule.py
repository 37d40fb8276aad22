"""When a webhook is sent again."""

from dockrion.backends.outbox import RETENTION_SECONDS, Failures
from dockrion.webhooks.schedule import PAUSES, SECONDS, Schedule

DAY = 24 * 3600


def attempts(schedule: Schedule, retry_after: float = 0) -> list[float]:
    """Return when the attempts are that follow a first one at 0, if all fail."""
    now = 0.0
    times: list[float] = []
    for count in range(1, 100):
        pause = schedule.pause(Failures(count, 0.0), now, retry_after)
        if pause is None:
            return times
        now += pause
        times.append(now)
    raise AssertionError("it never gives up")


def test_pauses_grow_over_a_day() -> None:
    assert sorted(PAUSES) == list(PAUSES)
    times = attempts(Schedule())
    assert len(times) == len(PAUSES)
    assert times[0] < 6
    assert 0.9 * DAY < times[-1] < 1.1 * DAY < RETENTION_SECONDS


def test_replicas_that_fail_together_do_not_try_again_together() -> None:
    pauses = {Schedule().pause(Failures(3, 0.0), 0.0, 0) for _ in range(10)}
    assert len(pauses) > 1
    assert all(pause is not None and 120 <= pause <= 132 for pause in pauses)


def test_what_the_receiver_asks_for_is_heeded_within_the_day() -> None:
    assert Schedule().pause(Failures(1, 0.0), 0.0, 900) == 900
    assert (Schedule().pause(Failures(4, 0.0), 0.0, 1) or 0) >= 600
    times = attempts(Schedule(), 1e9)
    assert len(times) == 1
    assert times == [SECONDS]
    assert DAY < SECONDS < RETENTION_SECONDS


def test_it_gives_up_when_the_day_is_over_however_few_attempts_there_were() -> None:
    assert Schedule().pause(Failures(2, 0.0), SECONDS, 0) is None
    assert Schedule([]).pause(Failures(1, 0.0), 0.0, 0) is None
