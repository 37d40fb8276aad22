"""Consecutive tokens of one message, read without decoding their texts."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from dockrion.events import Entry
from dockrion.protocols.token_runs import (
    OpenTexts,
    Origin,
    TokenRun,
    continuing,
    grouped,
    texts_after,
    token_run,
)
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
    run = TokenRun([b'"a"', b'"b"'], Origin(), b',"finish_reason":null}')
    assert list(grouped([*tokens, other])) == [(tokens[0], run), (other, None)]


def _after(texts: OpenTexts, *fields: dict[str, Any], changed: bool = False) -> OpenTexts:
    return texts_after(texts, token_run(_tokens_of(*fields), 0), fields[0].get("source"), changed=changed)


def test_pages_that_go_on_with_an_open_text_are_told_apart() -> None:
    texts = _after(_after((), {"content": "", "source": "s"}), {"content": "a", "source": "t"})
    for source in ("s", "t"):
        first, second = ({"content": text, "source": source} for text in "ab")
        assert continuing(texts, _tokens_of(first)) == (source, [b'"a"'])
        assert continuing(texts, _tokens_of(first, second, first=9)) == (source, [b'"a"', b'"b"'])
        for last in (first | {"content": ""}, {"content": "b"}, first | {"finish_reason": "stop"}):
            assert continuing(texts, _tokens_of(last)) is None
            assert continuing(texts, _tokens_of(first, last)) is None
        assert continuing(texts, [*_tokens_of(first), entry(2, "heartbeat", {})]) is None
        assert continuing(texts, [Entry(1, "custom:x", _tokens_of(first)[0].data, 0.0)]) is None
    assert continuing(texts, [entry(1, "heartbeat", {})]) is None
    assert continuing((), _tokens_of({"content": "a"})) is None


def test_open_texts_are_those_of_the_last_tokens() -> None:
    texts = _after((), {"content": "a", "source": "s"})
    assert _after(texts, {"content": "b", "source": "s"}) is texts
    assert _after(texts, {"content": "b", "source": "s", "finish_reason": "stop"}) == ()
    only = _after(texts, {"content": "b", "source": "t"}, changed=True)
    assert [each.text for each in only] == ["t"]
    for number in range(20):
        texts = _after(texts, {"content": "a", "source": str(number)})
    assert [each.text for each in texts] == [str(number) for number in range(12, 20)]


def test_events_in_another_layout_are_decoded() -> None:
    data = b'{"finish_reason":null,"source":"s","content":"a\\n","new":1}'
    entries = [Entry(1, "token", data, 0.0), *_tokens_of({"content": "b", "source": "s"}, first=2)]
    assert token_run(entries, 0) == TokenRun([b'"a\\n"'], Origin(source="s"))
    assert _after((), {"content": "b", "source": "s"}) == texts_after(
        (), token_run(entries, 1), "s", changed=True
    )
    assert texts_after((), token_run(entries, 0), "s", changed=True) == ()
    assert token_run([entries[1], entries[0]], 0)[:2] == ([b'"b"'], Origin(source="s"))


def test_malformed_events_are_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        token_run([Entry(1, "token", b'{"content":"a","finish_reason":nul', 0.0)], 0)
