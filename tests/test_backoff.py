from hypothesis import given
from hypothesis import strategies as st

from dockrion.backoff import Backoff

SECONDS = st.floats(0.001, 100)


@given(SECONDS, SECONDS, st.integers(0, 20))
def test_delays_double_up_to_the_longest(first: float, more: float, attempts: int) -> None:
    backoff = Backoff(first, first + more)
    delays = [backoff.next() for _ in range(attempts)]
    assert delays == [min(first * 2**attempt, first + more) for attempt in range(attempts)]


@given(SECONDS, st.integers(0, 20))
def test_reset_restarts_from_the_first_delay(first: float, attempts: int) -> None:
    backoff = Backoff(first, first * 8)
    for _ in range(attempts):
        backoff.next()
    backoff.reset()
    assert backoff.next() == first


@given(st.floats(0.01, 1))
def test_jitter_adds_at_most_its_fraction(jitter: float) -> None:
    delays = [Backoff(1.0, 8.0, jitter=jitter).next() for _ in range(50)]
    assert all(1.0 <= delay <= 1.0 + jitter for delay in delays)
    assert len(set(delays)) > 1
