"""Consecutive tokens of one message, read without decoding their texts."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from dockrion.events import Entry
from dockrion.protocols.token_runs import Origin, grouped, only_tokens, token_run
from tests.protocols.logs import entry

_texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ['","finish_reason":null}', ',"content":"', '\\",', '"', "\\", "\n", "\0", "é\u2028😀", ',"message_id":"']
)
_tokens = st.fixed_dictionaries(
    {"content": _texts},
    optional={"finish_reason": st.none() | _texts, "message_id": _texts, "source": st.just("a") | _texts},
)


def _tokens_of(*fields: dict[str, Any], first: int = 1) -> list[Entry]:
    return [entry(number, "token", each) for number, each in enumerate(fields, first)]


@given(st.lists(_tokens, min_size=1, max_size=6), st.integers(7, 12))
@example(
    [{"content": "a"}, {"content": "a", "finish_reason": None, "message_id": ',"finish_reason":null'}], 9
)
def test_runs_have_the_texts_and_fields_of_their_events(tokens: list[dict[str, Any]], first: int) -> None:
    entries = _tokens_of(*tokens, first=first)
    found: list[tuple[Any, Origin]] = []
    for each, run in grouped(entries):
        assert run is not None
        assert each is entries[len(found)]
        found += [(msgspec.json.decode(content), run[1]) for content in run[0]]
    assert found == [
        (
            token["content"],
            Origin(token.get("finish_reason"), token.get("message_id", UNSET), token.get("source", UNSET)),
        )
        for token in tokens
    ]


def test_a_run_ends_before_another_event_or_message_and_after_a_finish_reason() -> None:
    message = [{"content": str(number), "message_id": "m"} for number in range(12)]
    entries = _tokens_of(*message, {"content": "x", "message_id": "n"})
    assert len(token_run(entries, 0)[0]) == 12
    assert token_run([*entries[:2], entry(3, "heartbeat", {}), *entries[3:]], 0)[0] == [b'"0"', b'"1"']
    custom = Entry(2, "custom:x", entries[1].data, 0.0)
    assert token_run([entries[0], custom], 0)[0] == [b'"0"']
    assert len(token_run(_tokens_of(*[{"content": "", "finish_reason": "stop"}] * 2), 0)[0]) == 1


def test_other_events_stand_alone() -> None:
    tokens, other = _tokens_of({"content": "a"}, {"content": "b"}), entry(3, "heartbeat", {})
    assert list(grouped([*tokens, other])) == [(tokens[0], ([b'"a"', b'"b"'], Origin())), (other, None)]


def test_pages_of_tokens_alone_are_told_apart() -> None:
    tokens = _tokens_of({"content": "a"}, {"content": "b"})
    assert only_tokens(tokens) == ([b'"a"', b'"b"'], Origin())
    for last in ({"content": ""}, {"content": "b", "source": "s"}, {"content": "b", "finish_reason": "stop"}):
        assert only_tokens(_tokens_of({"content": "a"}, last)) is None
    assert only_tokens([*tokens, entry(3, "heartbeat", {})]) is None
    assert only_tokens([entry(1, "heartbeat", {})]) is None


def test_events_in_another_layout_are_decoded() -> None:
    data = b'{"finish_reason":null,"source":"s","content":"a\\n","new":1}'
    entries = [Entry(1, "token", data, 0.0), *_tokens_of({"content": "b", "source": "s"}, first=2)]
    assert token_run(entries, 0) == ([b'"a\\n"'], Origin(source="s"))
    assert token_run([entries[1], entries[0]], 0) == ([b'"b"'], Origin(source="s"))


def test_malformed_events_are_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        token_run([Entry(1, "token", b'{"content":"a","finish_reason":nul', 0.0)], 0)
