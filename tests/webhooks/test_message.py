"""What a webhook says about an event."""

import msgspec
import pytest

from dockrion.backends.outbox import Delivery
from dockrion.events import Entry
from dockrion.webhooks.message import WebhookBody, encode

DELIVERY = Delivery("run-1", "i1", "target")


@pytest.mark.parametrize(
    ("event_type", "sent", "status"),
    [
        ("complete", "run.completed", "completed"),
        ("error", "run.failed", "failed"),
        ("cancelled", "run.cancelled", "cancelled"),
        ("started", "run.started", "running"),
        ("input_requested", "run.input_requested", "running"),
        ("custom:custom:x", "run.custom.custom:x", "running"),
        ("custom:invoice", "run.custom.invoice", "running"),
    ],
)
def test_the_body_has_type_time_run_status_and_event(event_type: str, sent: str, status: str) -> None:
    event = b'{"type": "%s", "text": "\xc3\xa4"}' % event_type.encode()
    body = encode(DELIVERY, Entry(7, event_type, event, 1_700_000_000.25)).body
    assert msgspec.json.decode(body) == {
        "type": sent,
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "data": {"run_id": "run-1", "status": status, "event": {"type": event_type, "text": "ä"}},
    }
    assert event in body
    msgspec.json.decode(body, type=WebhookBody)


def test_the_id_is_that_of_the_event() -> None:
    entry = Entry(7, "token", b"{}", 1.5)
    same = encode(DELIVERY, entry).id
    assert same == encode(msgspec.structs.replace(DELIVERY, target="other"), entry).id
    assert "." not in same  # which separates it from the body that is signed
    others = [
        encode(DELIVERY, Entry(8, "token", b"{}", 1.5)).id,
        encode(msgspec.structs.replace(DELIVERY, incarnation="i2"), entry).id,
        encode(DELIVERY, Entry(7, "token", b"{}", 1.6)).id,
    ]
    assert len({same, *others}) == 4
