"""Logs of runs as strategies, and the laws that the encoder of every protocol obeys."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from hypothesis import strategies as st

from dockrion import events
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import Page
from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Draining, Gap, Gone, Timeout
from dockrion.protocols import Encoder, State
from dockrion.web.protocols.resuming import Resumption, resume
from dockrion.wire.sse import Decoder, Message

RUN_ID = "run-1"
AT = datetime(2026, 11, 22, 10, 30, 5, 123456, UTC)
NOTICES = [Timeout("60 s are over"), AuthExpired(), Gone(), Draining()]
PAGE_EVENTS = 3  # of the stored logs: small, so that pages end everywhere
HOSTILE_TEXTS = [
    "",
    "\n\ndata: x\n\n: comment\r\nid: 9\nevent: complete\n\n",
    '"}\n\n{"\\',
    "\u2028\u2029\x85\0\ufeff\x1b",
    "😀 \ud7ff é",
    "[DONE]",
    "</think>" * 3,
    "0" * 200,
]
TOO_LARGE = msgspec.Raw(b"1e400")  # JSON that not every decoder takes; agents emit decimals

texts = st.one_of(st.sampled_from(["Hello", " world", *HOSTILE_TEXTS]), st.text(max_size=5))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=6,
) | st.just(TOO_LARGE)
optional_texts = st.none() | texts
_seconds = st.none() | st.floats(min_value=0, max_value=1e6)
_counts = st.none() | st.integers(min_value=0, max_value=2**63)
_ids = st.sampled_from(["m1", "m2", "\n\n", ""])
_sources = st.sampled_from(["a", "a/b"])
_calls = st.sampled_from(["c1", "c2", "c3", "\r\n"])
_questions = st.sampled_from(["r1", "r2"])
_roles = st.sampled_from(["assistant", "assistant", "user", "tool", "system", "ai"])
_blocks = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
        st.dictionaries(texts, json_values, max_size=2),
    ),
    max_size=3,
)


def _fields(given: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(given, optional=optional or {})


_of_message = {"message_id": _ids, "source": _sources}
FIELDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "progress": _fields({"step": texts, "progress": st.floats(0, 1)}, {"message": optional_texts}),
    "token": _fields({"content": texts}, {"finish_reason": optional_texts, **_of_message}),
    "message": _fields({"role": _roles, "content": texts | _blocks}, {"name": optional_texts, **_of_message}),
    "reasoning": _fields({"content": texts}, _of_message),
    "tool_call": _fields({"tool_call_id": _calls, "name": texts}, {"arguments": json_values, **_of_message}),
    "tool_result": _fields(
        {"tool_call_id": _calls},
        {
            "name": optional_texts,
            "result": json_values,
            "is_error": st.booleans(),
            "duration_ms": _seconds,
            "source": _sources,
        },
    ),
    "usage": _fields(
        {},
        {
            "model": optional_texts,
            "input_tokens": _counts,
            "output_tokens": _counts,
            "total_tokens": _counts,
            "details": st.none() | st.dictionaries(texts, json_values, max_size=2),
            "source": _sources,
        },
    ),
    "input_requested": _fields(
        {"request_id": _questions, "prompt": texts},
        {"schema": st.none() | st.just({"type": "boolean"}), "expires_at": st.none() | st.just(AT)},
    ),
    "input_received": _fields({"request_id": _questions}, {"value": json_values, "source": optional_texts}),
    "step": _fields(
        {"node_name": texts},
        {
            "duration_ms": _seconds,
            "input_keys": st.lists(texts, max_size=2),
            "output_keys": st.lists(texts, max_size=2),
            "source": _sources,
        },
    ),
    "checkpoint": _fields({"name": texts, "data": json_values}),
    "heartbeat": st.just({}),
    "custom:mood": _fields({"happy": json_values}),
    "custom:stream": _fields({"data": json_values}),
}
assert FIELDS.keys() >= events.CONFIGURABLE.keys()
ENDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "complete": _fields(
        {
            "output": json_values,
            "latency_seconds": st.floats(0, 10),
            "metadata": st.dictionaries(texts, json_values, max_size=2),
        }
    ),
    "error": _fields(
        {"error": texts, "code": st.sampled_from(["AGENT_EXECUTION_ERROR", "TIMEOUT_ERROR", "MINE"])},
        {"details": json_values},
    ),
    "cancelled": _fields({}, {"reason": optional_texts}),
}
assert ENDS.keys() == events.TERMINAL
_STARTED = {"agent_name": "tested", "framework": "custom"}


def entry(sequence: int, event_type: str, fields: dict[str, Any]) -> Entry:
    """Return an event as the log stores it."""
    at = AT.replace(second=sequence % 60)
    return Entry(
        sequence, event_type, events.encode(event_type, RUN_ID, sequence, at, fields), at.timestamp()
    )


def log_of(*emitted: dict[str, Any], end: dict[str, Any] | None = None) -> list[Entry]:
    """Return the log of a run that emits these events, given by their `type` and own fields."""
    every = [{"type": "started", **_STARTED}, *emitted, *([end] if end is not None else [])]
    return [
        entry(number, each["type"], {name: value for name, value in each.items() if name != "type"})
        for number, each in enumerate(every, 1)
    ]


def _of_type(event_type: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return FIELDS[event_type].map(lambda fields: [{"type": event_type, **fields}])


@st.composite
def _token_runs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Consecutive tokens of one message, or of none."""
    ids = draw(_fields({}, _of_message))
    return [
        {"type": "token", "content": text, **ids} for text in draw(st.lists(texts, min_size=2, max_size=5))
    ]


def _second_attempt(attempt: int) -> list[dict[str, Any]]:
    return [{"type": "started", **_STARTED, "attempt": attempt, "previous": "worker_lost"}]


_emitted = st.one_of(
    _token_runs(),
    *map(_of_type, FIELDS),
    st.integers(2, 3).map(_second_attempt),
)


def logs(*, ended: bool | None = None, max_events: int = 20) -> st.SearchStrategy[list[Entry]]:
    """Return a strategy for the log of a run, which is never empty.

    Tokens and messages of several ids and sources interleave, calls of tools stay open or have results that
    nobody waits for, questions are answered or not, and attempts begin again.

    Args:
        ended: Whether the run has ended; None for both.
        max_events: About how many events there are at most.
    """
    end = st.one_of(*(fields.map(_with_type(name)) for name, fields in ENDS.items()))
    if ended is None:
        end = st.none() | end
    elif not ended:
        end = st.none()
    emitted = st.lists(_emitted, max_size=max_events)
    return st.builds(
        lambda parts, last: log_of(*(each for part in parts for each in part), end=last), emitted, end
    )


def _with_type(event_type: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda fields: {"type": event_type, **fields}


def messages_of(frames: bytes) -> list[Message]:
    """Return the messages in the frames of a stream, checked to be one in each and whole.

    Comments are no messages.
    """
    assert b"\r" not in frames
    assert not frames or frames.endswith(b"\n\n")
    found = []
    for frame in frames.split(b"\n\n")[:-1]:
        decoder = Decoder()
        messages = decoder.feed(frame + b"\n\n")
        assert len(messages) == 1, frame
        assert frame.decode().count("\ndata: ") + frame.startswith(b"data: ") == 1, frame
        found += messages
    return found


def encoded(encoder: Encoder[Any], entries: Sequence[Entry], state: Any = None) -> tuple[bytes, Any]:
    """Encode a log event by event, from its beginning or from a state, until the stream ends.

    Returns:
        The frames, and the state at the end.
    """
    state = encoder.start() if state is None else state
    frames = b""
    for each in entries:
        if state.ended:
            break
        more, state = encoder.encode(state, (each,))
        frames += more
    return frames, state


def check_encoder(encoder: Encoder[Any], entries: Sequence[Entry]) -> list[Message]:
    """Check what readers, resuming and the sharing of frames rely on, and return the messages of the stream.

    - A page has the frames and leads to the state of its events one by one, wherever it begins and ends.
    - Nothing changes a state, and an equal encoder writes equal frames.
    - All frames are blocks of one message.
    - After a gap all readers go on alike, whatever they have read before it.
    - What is not of the log has no id, from which a reader would resume.
    """
    start = encoder.start()
    same: Encoder[Any] = copy(encoder)
    assert (same, hash(same)) == (encoder, hash(encoder))
    assert (start.origin, start.ended, same.start()) == (0, False, start)
    states: list[State] = [start]
    frames: list[bytes] = []
    for each in entries:
        before = repr(states[-1])
        data, state = encoder.encode(states[-1], (each,))
        assert repr(states[-1]) == before
        assert state.origin == 0
        messages_of(data)
        frames.append(data)
        states.append(state)
        if state.ended:
            break
    for first in range(len(frames)):
        rest = tuple(entries[first:])
        assert encoder.encode(states[first], rest) == (b"".join(frames[first:]), states[-1])
        _check_middle(same, entries, states, frames, first)
    _check_gaps(encoder, states)
    return messages_of(b"".join(frames))


def _check_middle(
    encoder: Encoder[Any],
    entries: Sequence[Entry],
    states: Sequence[State],
    frames: Sequence[bytes],
    first: int,
) -> None:
    end = (first + len(frames) + 1) // 2  # pages that end in the middle
    if first < end:
        page = tuple(entries[first:end])
        assert encoder.encode(states[first], page) == (b"".join(frames[first:end]), states[end])


def _check_gaps(encoder: Encoder[Any], states: Sequence[State]) -> None:
    after: dict[int, State] = {0: encoder.start()}
    for position, state in enumerate(states):
        if state.ended:
            continue
        for notice in NOTICES:
            before = repr(state)
            data = encoder.encode_notice(state, notice)
            assert repr(state) == before
            assert not data or data.endswith(b"\n")
            assert _moves_no_cursor(data)
        for first_available in {1, position + 5, len(states) + 10} - {position + 1}:
            data, gone_on = encoder.encode_gap(state, Gap(position + 1, first_available))
            messages_of(data)
            assert _moves_no_cursor(data)
            if not gone_on.ended:
                assert gone_on.origin == first_available - 1
                assert gone_on == after.setdefault(gone_on.origin, gone_on)


def _moves_no_cursor(data: bytes) -> bool:
    return all(message.id is None for message in Decoder().feed(data))


class StoredLog:
    """The log of a run, of which only the reading works, in small pages.

    Args:
        entries: What is stored.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)

    async def read(self, _run_id: str, after: int, _limit: int, _incarnation: str | None = None) -> Page:
        left = [each for each in self._entries if each.sequence > after]
        page = left[:PAGE_EVENTS]
        closed = bool(self._entries) and self._entries[-1].type in events.TERMINAL
        more = len(left) > len(page)
        return Page(page, closed=closed and not more, more=more)


def resumption(encoder: Encoder[Any], entries: Iterable[Entry], skip: Any) -> Resumption:
    """Return where a reader goes on; see `resuming.resume`."""
    log: Any = StoredLog(entries)
    resuming = resume(log, RunRef(RUN_ID, ""), encoder, skip)
    while True:  # without an event loop, since reading this log waits for nothing
        try:
            resuming.send(None)
        except StopIteration as stop:
            return cast("Resumption", stop.value)


def check_resuming(
    encoder: Encoder[Any],
    entries: Sequence[Entry],
    skip_after: Callable[[Message], Any],
    reopening: Callable[[Resumption], bytes] | None = None,
) -> None:
    """Check that a reader who has any number of the frames, and resumes, gets exactly the others.

    Args:
        encoder: The encoder.
        entries: The log.
        skip_after: Takes the last message that the reader has, and returns the argument `skip` of `resume`,
            None if nobody can resume after this message.
        reopening: Returns what the protocol sends first to a reader who resumes; these frames are left out.
    """
    whole, _ = encoded(encoder, entries)
    sent = whole.split(b"\n\n")[:-1]
    for number, message in enumerate(messages_of(whole), 1):
        skip = skip_after(message)
        if skip is None:
            continue
        found = resumption(encoder, entries, skip)
        if reopening is not None:
            messages_of(reopening(found))
        rest, _ = encoded(encoder, entries[found.after :], found.state)
        assert found.frames + rest == b"".join(frame + b"\n\n" for frame in sent[number:]), (number, message)
