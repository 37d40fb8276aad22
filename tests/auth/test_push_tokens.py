"""Tokens for pushing events: valid for one incarnation of one run, and for nothing else."""

from hypothesis import assume, given
from hypothesis import strategies as st

from dockrion import ids
from dockrion.auth import events_tokens, push_tokens

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
RUN, INCARNATION = "run-1", "0123456789abcdef"
TOKEN = push_tokens.issue(KEY, RUN, INCARNATION)
run_ids = st.from_regex(ids.RUN_ID_PATTERN, fullmatch=True)
incarnations = st.from_regex(ids.INCARNATION_PATTERN, fullmatch=True)


@given(run_id=run_ids, incarnation=incarnations)
def test_token_names_the_incarnation_it_is_for(run_id: str, incarnation: str) -> None:
    token = push_tokens.issue(KEY, run_id, incarnation)
    assert push_tokens.incarnation(KEY, run_id, token) == incarnation
    assert push_tokens.incarnation(OTHER_KEY, run_id, token) is None
    assert set(token) <= set("0123456789abcdef.")


@given(run_id=run_ids, incarnation=incarnations)
def test_token_is_for_no_other_run(run_id: str, incarnation: str) -> None:
    assume(run_id != RUN)
    assert push_tokens.incarnation(KEY, run_id, TOKEN) is None
    assume(incarnation != INCARNATION)
    renamed = TOKEN.replace(INCARNATION, incarnation)
    assert push_tokens.incarnation(KEY, RUN, renamed) is None


@given(
    text=st.text(max_size=100) | st.integers(0, len(TOKEN)).map(lambda at: TOKEN[:at] + "0" + TOKEN[at + 1 :])
)
def test_no_other_text_is_a_token(text: str) -> None:
    assume(text != TOKEN)
    assert push_tokens.incarnation(KEY, RUN, text) is None


def test_spellings_of_a_token_are_refused() -> None:
    for text in (
        TOKEN.upper(),
        f" {TOKEN}",
        f"{TOKEN} ",
        f"{TOKEN}.",
        TOKEN.replace(".", ""),
        f".{TOKEN}",
        "",
    ):
        assert push_tokens.incarnation(KEY, RUN, text) is None


def test_tokens_for_reading_and_for_pushing_are_not_exchangeable() -> None:
    for name in (RUN, f"{RUN} {INCARNATION}"):
        reading = events_tokens.issue(KEY, name)
        assert push_tokens.incarnation(KEY, RUN, reading) is None
        for token in (TOKEN, TOKEN.replace(INCARNATION, "9" * 10)):
            assert events_tokens.expiry(KEY, name, token) is None
