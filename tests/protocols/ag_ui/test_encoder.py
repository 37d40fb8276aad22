"""The events of AG-UI that a run's log becomes."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dockrion.events import Entry
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import Names
from dockrion.protocols.ag_ui.positions import parse_cursor, reopening
from dockrion.web.protocols.resuming import Resumption
from dockrion.wire.sse import Message
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import RUN_ID, check_encoder, check_resuming, encoded, log_of, logs, resumption
from tests.protocols.logs import messages_of as messages_in

NAMES = Names(RUN_ID, "thread-1", "their-run")
ENCODER = RunEncoder(NAMES)
ALL_ANSWERED = RunEncoder(NAMES, answered=1_000)
END = {"type": "complete", "output": {"answer": "4"}, "latency_seconds": 1.0, "metadata": {}}


def events_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [json.loads(each.data) for each in messages]


def stream_of(*emitted: dict[str, Any], end: dict[str, Any] | None = END) -> list[dict[str, Any]]:
    """Return the events that a client gets of a run, verified."""
    found = events_of(check_encoder(ALL_ANSWERED, log_of(*emitted, end=end)))
    verify(found, ended=end is not None)
    return found


def token(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": content, **fields}


def kinds(found: Sequence[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in found]


def reopening_of(encoder: RunEncoder, found: Resumption) -> bytes:
    return reopening(encoder, found.before, found.skipped)


@given(logs(), st.sampled_from([ENCODER, ALL_ANSWERED]))
def test_every_log_is_a_stream_that_clients_accept_from_wherever_they_resume(
    entries: list[Entry], encoder: RunEncoder
) -> None:
    verify(events_of(check_encoder(encoder, entries)), ended=False)
    check_resuming(
        encoder,
        entries,
        lambda message: parse_cursor(message.id or "").skip,
        lambda found: reopening_of(encoder, found),
    )
    whole = messages_in(encoded(encoder, entries)[0])
    for number, last in enumerate(whole, 1):
        found = resumption(encoder, entries, parse_cursor(last.id or "").skip)
        reopened = messages_in(reopening_of(encoder, found))
        assert not [each for each in reopened if each.id]
        verify(events_of([*reopened, *whole[number:]]), ended=False)
