"""Window counters and claims in memory, on a clock that the tests move."""

import pytest

from dockrion.backends.memory.backend import Claims, WindowCounter
from dockrion.backends.shared_state import WindowCount
from tests.backends.test_memory import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counter(clock: Clock) -> WindowCounter:
    return WindowCounter(clock)


def test_counters_are_dropped_after_their_window(counter: WindowCounter, clock: Clock) -> None:
    for number in range(1_000):
        counter.count(str(number), 1 + number % 3)
    clock.now += 3
    assert counter.count("0", 1) == WindowCount(1, 1.0)
    assert len(counter._counts) == len(counter._ends) == 1


def test_window_ends_after_its_seconds(counter: WindowCounter, clock: Clock) -> None:
    counter.count("n", 60)
    clock.now += 59.5
    assert counter.count("n", 60) == WindowCount(2, 0.5)
    clock.now += 0.5
    assert counter.count("n", 60) == WindowCount(1, 60.0)


def test_over_the_limit_the_counter_whose_window_ends_first_is_dropped(
    counter: WindowCounter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.memory.backend._MAX_COUNTERS", 3)
    for name, window in (("long", 60), ("short", 10), ("later", 60), ("another", 60)):
        counter.count(name, window)
        clock.now += 1
    assert len(counter._counts) == len(counter._ends) == 3
    assert counter.count("long", 60).count == 2
    assert counter.count("later", 60).count == 2
    assert counter.count("short", 10).count == 1


def test_claims_are_dropped_after_their_time(clock: Clock) -> None:
    claims = Claims(clock)
    for number in range(1_000):
        claims.claim(str(number), b"v", 1 + number % 3, None)
    clock.now += 3
    assert claims.claim("0", b"w", 1, None) == b"w"
    assert len(claims._values) == len(claims._ends) == 1


def test_replaced_claim_lasts_for_its_own_time(clock: Clock) -> None:
    claims = Claims(clock)
    claims.claim("n", b"a", 10, None)
    clock.now += 5
    assert claims.claim("n", b"b", 10, b"a") == b"b"
    clock.now += 9
    assert claims.claim("n", b"c", 10, None) == b"b"
    clock.now += 1
    assert claims.claim("n", b"c", 10, None) == b"c"


def test_over_the_limit_the_claim_that_ends_first_is_dropped(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.memory.backend._MAX_CLAIMS", 3)
    claims = Claims(clock)
    for name, seconds in (("long", 60), ("short", 10), ("later", 60), ("another", 60)):
        claims.claim(name, b"a", seconds, None)
    assert sorted(claims._values) == ["another", "later", "long"]
