"""Tokens that open one run's events, and all the ways in which they are invalid."""

import time

from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth.events_tokens import LIFETIME_SECONDS, expiry, issue
from tests.auth.clock import Clock

KEYS = st.binary(min_size=32, max_size=32)
RUNS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
KEY = bytes(range(32))


@given(KEYS, RUNS)
def test_token_is_valid_for_its_run_for_five_minutes(key: bytes, run_id: str) -> None:
    until = expiry(key, run_id, issue(key, run_id))
    assert until is not None
    assert 0 <= time.time() + LIFETIME_SECONDS - until < 10


@given(RUNS, RUNS)
def test_token_of_another_run_is_invalid(run_id: str, other: str) -> None:
    assert (expiry(KEY, other, issue(KEY, run_id)) is not None) == (run_id == other)


@given(KEYS, KEYS)
def test_token_of_another_key_is_invalid(key: bytes, other: bytes) -> None:
    assert (expiry(other, "run", issue(key, "run")) is not None) == (key == other)


@given(RUNS, st.data())
def test_token_with_any_changed_character_is_invalid(run_id: str, data: st.DataObject) -> None:
    token = issue(KEY, run_id)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda char: char != token[place]))
    for changed in (
        token[:place] + other + token[place + 1 :],
        token[:place] + token[place + 1 :],
        token[:place] + other + token[place:],
    ):
        if changed != token:
            assert expiry(KEY, run_id, changed) is None


@given(RUNS, st.text())
def test_forged_token_is_invalid(run_id: str, text: str) -> None:
    token = issue(KEY, run_id)
    end = token.partition(".")[0]
    for made_up in (text, f"{text}.{text}", f"{end}.{text}", text + token, token + text, token.upper()):
        if made_up != token:
            assert expiry(KEY, run_id, made_up) is None


@given(st.text(min_size=1, max_size=5), RUNS)
def test_signed_expiry_and_run_cannot_be_shifted(moved: str, run_id: str) -> None:
    end, _, signature = issue(KEY, run_id).partition(".")
    assert expiry(KEY, run_id[1:], f"{end}.{run_id[0]}.{signature}") is None
    assert expiry(KEY, run_id, f"{end}{moved}.{signature}") is None


def test_token_expires(clock: Clock) -> None:
    token = issue(KEY, "run")
    clock.passed = LIFETIME_SECONDS - 60
    assert expiry(KEY, "run", token) is not None
    clock.passed = LIFETIME_SECONDS + 1
    assert expiry(KEY, "run", token) is None
