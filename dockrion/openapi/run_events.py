"""What the endpoints of a run's events are for."""

from typing import Any

import msgspec

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.events import MAX_SEQUENCE
from dockrion.openapi import examples, media
from dockrion.openapi.operation import Answer, Operation, flag, header, one, query, whole
from dockrion.openapi.operations_runs import strangers
from dockrion.openapi.schemas import ref
from dockrion.runs.ingest import MAX_BATCH

_EVENT = ref("PushedEvent")
_BATCH = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MAX_BATCH}
_TOKEN = {"type": "token", "content": "Hello"}
_POLLED = {media.JSON: {"schema": ref("Polled")}}
_PUSHED: dict[str, Any] = {
    media.JSON: {"schema": {"oneOf": [_EVENT, _BATCH]}, "example": _TOKEN},
    media.NDJSON: media.TEXT | {"example": msgspec.json.encode(_TOKEN).decode() + "\n"},
}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return their operations, by method and path."""
    return {
        "GET /runs/{run_id}/events": Operation(
            tag="events",
            summary="Watch a run",
            description="The run's events: those that there are, then those to come.",
            parameters=_place_and_time(dockfile),
            answers={
                200: Answer("The events.", media.stream(dockfile) | _POLLED),
                204: Answer("The reader has the last event of a finished run."),
            },
            errors=(
                errors.RunNotFound,
                errors.NotAcceptable,
                errors.Gone,
                errors.TooManySubscribers,
                errors.ServiceUnavailable,
            ),
        ),
        "GET /runs/{run_id}/ws": Operation(
            tag="events",
            summary="Watch a run over a WebSocket",
            description="The events and what the client may say are in `/asyncapi.json`.",
            parameters=_place_and_time(dockfile)[:2],
            answers={101: Answer("The connection is a WebSocket (RFC 6455).")},
        ),
        "POST /runs/{run_id}/events": Operation(
            tag="events",
            summary="Push events into a run",
            description="One event, an array, or one in each line, all of which are taken or none. "
            "`complete`, `error` and `cancelled` end the run, and nothing may follow them.",
            parameters=[query("producer_seq", "The batch's number in the run.", whole(1, MAX_SEQUENCE))],
            body=_PUSHED,
            answers={200: one(examples.PUSHED, "All of them were taken.")},
            errors=(
                errors.RunNotFound,
                errors.Conflict,
                errors.PayloadTooLarge,
                errors.UnsupportedMediaType,
                errors.ServiceUnavailable,
                *strangers(dockfile),
            ),
        ),
    }


def _place_and_time(dockfile: Dockfile) -> list[dict[str, Any]]:
    default = dockfile.streaming.connection.default_timeout
    return [
        query("from_sequence", "The first event wanted.", whole(0, MAX_SEQUENCE, 0)),
        query("timeout", "Seconds after which the stream ends.", whole(1, 3600, default)),
        query("limit", "Of `application/json` alone: how many events at most.", whole(1, 500, 100)),
        query("wait", "Of `application/json` alone: seconds to wait for an event.", whole(0, 60, 0)),
        query("strict", "Refuse with 410 when events are no longer kept.", flag()),
        header(
            "Last-Event-ID",
            "The last event that the reader has; wins over `from_sequence`.",
            whole(0, MAX_SEQUENCE),
        ),
    ]
