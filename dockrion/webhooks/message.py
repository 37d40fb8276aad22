"""What a webhook says: the body and the id of the message about an event."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from dockrion.backends.outbox import Delivery
from dockrion.events import CUSTOM_PREFIX, Entry, Utc

_STATUS: dict[str, Literal["completed", "failed", "cancelled"]] = {
    "complete": "completed",
    "error": "failed",
    "cancelled": "cancelled",
}
_encoder = msgspec.json.Encoder()


class WebhookData(msgspec.Struct, frozen=True):
    run_id: str
    status: Annotated[
        Literal["running", "completed", "failed", "cancelled"],
        Meta(description="The run's status once this event has occurred."),
    ]
    event: Annotated[msgspec.Raw, Meta(description="The event, as readers of the run get it.")]


class WebhookBody(msgspec.Struct, frozen=True):
    type: Annotated[
        str,
        Meta(
            description="`run.completed`, `run.failed`, `run.cancelled`, `run.started`, or `run.` and the "
            "type of the event; of a custom one `run.custom.` and its name."
        ),
    ]
    timestamp: Annotated[Utc, Meta(description="When the event occurred.")]
    data: WebhookData


class Message(NamedTuple):
    """A message: the same for all targets and all attempts.

    Attributes:
        id: Its `webhook-id`.
        body: Its body.
        headers: Further headers, None for none.
    """

    id: str
    body: bytes
    headers: dict[str, str] | None = None


def encode(delivery: Delivery, entry: Entry, url: str = "") -> Message:
    """Return the message about an event.

    Args:
        delivery: What it is a part of.
        entry: The event.
        url: Where the message goes; a caller's may say that it is one of another protocol.
    """
    status = _STATUS.get(entry.type)
    event_type = status or entry.type.replace(CUSTOM_PREFIX, "custom.", 1)
    data = WebhookData(delivery.run_id, status or "running", msgspec.Raw(entry.data))
    body = WebhookBody(f"run.{event_type}", datetime.fromtimestamp(entry.emitted_at, UTC), data)
    # A storage that was set back may give the sequence to another event of the run.
    event = f"{delivery.incarnation}:{entry.sequence}:{entry.emitted_at!r}"
    message_id = f"msg_{sha256(event.encode()).hexdigest()[:32]}"
    if "#" in url:
        from dockrion.protocols.a2a.push import push_of  # noqa: PLC0415  memory: only where a caller wants it

        if (push := push_of(url)) is not None:
            return Message(message_id, push.body(delivery.run_id, entry), push.headers)
    return Message(message_id, _encoder.encode(body))
