from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth.introspection import TTLCache
from tests.auth.clock import Clock


def test_values_expire(clock: Clock) -> None:
    values = TTLCache[str](30, 10)
    values.put(b"a", "1")
    clock.passed = 20
    values.put(b"b", "2")
    assert (values.get(b"a"), values.get(b"b"), values.get(b"c")) == ("1", "2", None)
    clock.passed = 31
    assert (values.get(b"a"), values.get(b"b")) == (None, "2")


def test_put_restarts_the_time_to_live(clock: Clock) -> None:
    values = TTLCache[str](30, 10)
    values.put(b"a", "1")
    clock.passed = 20
    values.put(b"a", "2")
    clock.passed = 40
    assert values.get(b"a") == "2"


def test_expired_values_are_evicted(clock: Clock) -> None:
    values = TTLCache[str](30, 10)
    for key in (b"a", b"b", b"c"):
        values.put(key, "old")
    clock.passed = 31
    values.put(b"d", "new")
    assert len(values) == 1


@given(st.lists(st.binary(max_size=1)))
def test_oldest_values_are_evicted_when_full(keys: list[bytes]) -> None:
    values = TTLCache[bytes](30, 3)
    for key in keys:
        values.put(key, key)
    latest = list(dict.fromkeys(reversed(keys)))
    assert {key for key in keys if values.get(key) is not None} == set(latest[:3])
    assert len(values) == len(latest[:3])
