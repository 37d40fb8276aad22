"""The laws of the AG-UI encoder: the order of events, frame ids, and whoever resumes."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.ag_ui.writer import Options
from dockrion.protocols.numbered_frames import Cursor, parse_cursor
from tests.protocols.ag_ui.streams import (
    ALL_ANSWERED,
    ASKED,
    ENCODER,
    END,
    call,
    events_of,
    kinds,
    reopening_of,
    result,
    said,
    stream_of,
    texts_of,
    token,
    told,
)
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import (
    HOSTILE_TEXTS,
    NOTICES,
    RUN_ID,
    check_encoder,
    check_resuming,
    encoded,
    log_of,
    logs,
    messages_of,
    resumption,
)


def check_stream(encoder: RunEncoder, entries: Sequence[Entry]) -> None:
    """Check that clients accept the stream of a log, from wherever they resume."""
    verify(events_of(check_encoder(encoder, entries)), ended=False)
    check_resuming(
        encoder,
        entries,
        lambda message: parse_cursor(message.id or "").skip,
        lambda found: reopening_of(encoder, found),
    )
    whole = messages_of(encoded(encoder, entries)[0])
    for number, last in enumerate(whole, 1):
        found = resumption(encoder, entries, parse_cursor(last.id or "").skip)
        reopened = messages_of(reopening_of(encoder, found))
        assert not [each for each in reopened if each.id]
        rest = events_of([*reopened, *whole[number:]])
        verify(rest, ended=False)
        if number == len(whole) and entries[-1].type in events.TERMINAL:
            assert not rest


@given(logs(), st.sampled_from([ENCODER, ALL_ANSWERED]))
def test_clients_accept_the_stream_of_every_log_from_wherever_they_resume(
    entries: list[Entry], encoder: RunEncoder
) -> None:
    check_stream(encoder, entries)


@settings(max_examples=30)
@given(logs(), st.integers(1, 8), st.data())
def test_clients_accept_what_follows_on_a_gap(
    entries: list[Entry], dropped: int, data: st.DataObject
) -> None:
    stored = entries[dropped:] or entries[-1:]
    cursor = Cursor(data.draw(st.integers(0, stored[0].sequence)))
    found = resumption(ALL_ANSWERED, stored, cursor.skip)
    rest, _ = encoded(ALL_ANSWERED, [each for each in stored if each.sequence > found.after], found.state)
    frames = reopening_of(ALL_ANSWERED, found) + found.frames + rest
    verify(events_of(messages_of(frames)), ended=False)
    lost = [each for each in events_of(messages_of(frames)) if each.get("name") == "dockrion.gap"]
    assert len(lost) == (cursor.sequence < stored[0].sequence - 1)


def test_frames_have_the_sequence_and_a_number_as_their_id() -> None:
    frames = check_encoder(ENCODER, log_of(token("a"), token("b"), call(), end=END))
    assert [each.id for each in frames] == [
        *("1.1", "2.1", "2.2", "3.1", "4.1", "4.2", "4.3", "4.4", "5.1"),
    ]
    after_all_of_it = resumption(ENCODER, log_of(token("a"), token("b")), parse_cursor("2").skip)
    assert [each.id for each in messages_of(after_all_of_it.frames)] == ["3.1"]


def test_no_more_messages_than_a_bound_are_open() -> None:
    found = told(*(token("a", source=f"s{number}") for number in range(70)))
    assert kinds(found).count("TEXT_MESSAGE_END") == 6


def test_a_run_that_ends_before_it_starts_is_a_run() -> None:
    first = log_of({"type": "cancelled"})[1:]
    assert kinds(events_of(messages_of(encoded(ENCODER, first)[0]))) == ["RUN_STARTED", "RUN_FINISHED"]


def test_another_attempt_has_messages_of_its_own() -> None:
    value = {"agent_name": "a", "framework": "custom", "attempt": 2, "previous": "shutdown"}
    again = {"type": "started", **value}
    said_twice = [token("Hi", message_id="m1"), call(), {"type": "reasoning", "content": "x"}]
    found = stream_of(*said_twice, again, *said_twice, result())
    custom = [each for each in found if each["type"] == "CUSTOM"]
    assert custom == [{"type": "CUSTOM", "name": "dockrion.attempt", "value": value}]
    assert list(texts_of(found).items()) == [
        *(("run-1:m:m1", "Hi"), ("run-1:4", "x"), ("run-1:m2:m1", "Hi"), ("run-1:8", "x")),
    ]
    assert kinds(found).count("TOOL_CALL_START") == 1  # a client would append to the call's arguments


def test_a_gap_closes_what_is_open() -> None:
    _, state = ENCODER.encode(ENCODER.start(), log_of(token("a")))
    frames, after = ENCODER.encode_gap(state, Gap(3, 9))
    lost, rest = messages_of(frames), messages_of(encoded(ENCODER, log_of(token("b"))[1:], after)[0])
    assert {each.id for each in lost} == {None}
    found = events_of([*messages_of(encoded(ENCODER, log_of(token("a")))[0]), *lost, *rest])
    verify(found, ended=False)
    assert found[3:5] == [
        {"type": "TEXT_MESSAGE_END", "messageId": "run-1:2"},
        {"type": "CUSTOM", "name": "dockrion.gap", "value": {"requested": 3, "first_available": 9}},
    ]


def test_a_stream_that_ends_before_its_run_says_why() -> None:
    for state in (ENCODER.start(), ENCODER.encode(ENCODER.start(), log_of(token("a")))[1]):
        ends = [events_of(messages_of(ENCODER.encode_notice(state, notice))) for notice in NOTICES]
        assert [each["code"] for (each,) in ends] == ["TIMEOUT", "AUTH_EXPIRED", "GONE", "DRAINING"]
        assert all(each["type"] == "RUN_ERROR" for (each,) in ends)


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "%s%d%%"], ids=itertools.count())
def test_texts_arrive_as_they_are(text: str) -> None:
    ids = RunIds(RUN_ID, text, text)
    log = log_of(
        token(text, message_id=text),
        token(text, message_id=text, source=text),
        said(text + "!", message_id=text + "!"),
        {"type": "reasoning", "content": text, "message_id": text},
        call(text, arguments=text, message_id=text),
        result(text, result=text),
        {"type": "step", "node_name": text},
        ASKED | {"request_id": text, "prompt": text},
        end={"type": "error", "error": text, "code": "MINE"},
    )
    check_stream(RunEncoder(ids, Options(answered=1_000)), log)
    found = events_of(messages_of(encoded(RunEncoder(ids, Options(answered=1_000)), log)[0]))
    assert found[0]["threadId"] == found[0]["runId"] == text
    assert [each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT"] == (
        [text, text, text + "!"] if text else ["!"]
    )
    assert (found[-1]["type"], found[-1]["message"]) == ("RUN_ERROR", text)
