"""Descriptions of `/runs` and what is below it: a run, its events, its cancellation and its tokens."""

from typing import Any

import msgspec

from dockrion import errors, ids
from dockrion.dockfile import Dockfile
from dockrion.events import MAX_REASON_LENGTH, MAX_SEQUENCE
from dockrion.openapi import examples
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import (
    FLAG,
    IDEMPOTENCY_KEY,
    JSON,
    NDJSON,
    REPLAYED,
    TEXT,
    Operation,
    forwarded_headers,
    input_content,
    integer,
    json_response,
    param,
    response,
    stream_content,
)
from dockrion.openapi.operations_invoke import input_description, start_errors
from dockrion.openapi.schemas import ref
from dockrion.openapi.webhooks import WEBHOOK_URL
from dockrion.runs.ingest import MAX_BATCH

RUN_ID = {"type": "string", "pattern": f"^{ids.RUN_ID_PATTERN.pattern}$"}
INCARNATION = param(
    "incarnation",
    f"`{ids.INCARNATION_HEADER}` of an earlier response. If another run has the id by now, this is 404.",
    {"type": "string", "pattern": f"^{ids.INCARNATION_PATTERN.pattern}$"},
)
_INCARNATION_HEADER = {
    ids.INCARNATION_HEADER: "Tells the run from others that have its id before or after it."
}
_REASON = {"type": "string", "maxLength": MAX_REASON_LENGTH}
_LOOKUP_ERRORS: ErrorTypes = (errors.RunNotFound, errors.ServiceUnavailable)
_EVENT = ref("PushedEvent")
_BATCH = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MAX_BATCH}
_TOKEN = {"type": "token", "content": "Hello"}
_PUSHED: dict[str, Any] = {
    JSON: {"schema": {"oneOf": [_EVENT, _BATCH]}, "example": _TOKEN},
    NDJSON: TEXT | {"example": msgspec.json.encode(_TOKEN).decode() + "\n"},
}
_PUSH_PARAMETERS = [param("producer_seq", "Number of the batch in the run.", integer(1, MAX_SEQUENCE))]
_PUSH_ERRORS: ErrorTypes = (
    errors.RunNotFound,
    errors.Conflict,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.ServiceUnavailable,
)


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    listing = {"schema": ref("RunList"), "example": examples.listing(dockfile)}
    run = {"schema": ref("Run"), "example": examples.run(dockfile)}
    return {
        "POST /runs": _start(dockfile),
        "GET /runs": Operation(
            tag="runs",
            summary="List runs, newest first",
            description="Runs are listed without their outputs, and large ones shortened (`truncated`). "
            "The last page has a `next` of null.",
            parameters=[
                param("status", "Return only runs with this status.", ref("RunStatus")),
                param("waiting", "Return only runs whose agent waits for an answer.", FLAG),
                param("limit", "Largest number of runs to return.", integer(1, 500, 100)),
                param("cursor", "The `next` of the previous page.", {"type": "string"}),
            ],
            responses={200: response("A page of runs.", {JSON: listing})},
            errors=(errors.ServiceUnavailable,),
        ),
        "GET /runs/{run_id}": Operation(
            tag="runs",
            summary="Get a run",
            parameters=[INCARNATION],
            responses={200: response("The run.", {JSON: run}, _INCARNATION_HEADER)},
            errors=_LOOKUP_ERRORS,
        ),
        "DELETE /runs/{run_id}": Operation(
            tag="runs",
            summary="Cancel a run",
            parameters=[
                param("reason", "Reason for the cancellation, sent to readers.", _REASON),
                INCARNATION,
            ],
            responses={200: json_response(examples.CANCELLED, "The agent has stopped.")},
            errors=_LOOKUP_ERRORS,
        ),
        "POST /runs/{run_id}/token": Operation(
            tag="runs",
            summary="Create another token for the run's events",
            parameters=[INCARNATION],
            responses={200: json_response(examples.EVENTS_TOKEN, "The token.")},
            errors=_LOOKUP_ERRORS,
        ),
        **_event_operations(dockfile),
    }


def _start(dockfile: Dockfile) -> Operation:
    streaming = dockfile.streaming
    parameters = [IDEMPOTENCY_KEY, *forwarded_headers(dockfile)]
    start_failures = [*start_errors(dockfile), errors.IdempotencyMismatch]
    if streaming.allow_client_ids:
        parameters.append(
            param(
                "run_id",
                "Id of the run, chosen by the caller. Sent again with the same body, it is the same request.",
                RUN_ID,
            )
        )
    if streaming.allow_client_ids or streaming.id_generator.type == "custom":
        start_failures.append(errors.RunExists)
    if dockfile.webhooks_spec is not None and dockfile.webhooks_spec.allowed_hosts:
        parameters.append(WEBHOOK_URL)
    if streaming.ingest.enabled:
        words = "Another process pushes the run's events; the request has no body."
        parameters.append(param("external", words, FLAG))
        start_failures += ingest_errors(dockfile)
    accepted = json_response(
        examples.accepted(dockfile),
        "The run continues in the background.",
        {"Location": "The run."} | _INCARNATION_HEADER | REPLAYED,
    )
    return Operation(
        tag="runs",
        summary="Start a run",
        description=input_description(dockfile),
        parameters=parameters,
        body=input_content(dockfile),
        body_required=not streaming.ingest.enabled,
        responses={202: accepted},
        errors=start_failures,
    )


def _event_operations(dockfile: Dockfile) -> dict[str, Operation]:
    position = [
        param("from_sequence", "Sequence of the first event to return.", integer(0, MAX_SEQUENCE, 0)),
        param(
            "timeout",
            "Seconds after which the stream ends.",
            integer(1, 3600, dockfile.streaming.connection.default_timeout),
        ),
        INCARNATION,
    ]
    streamed = stream_content(dockfile) | {JSON: {"schema": ref("Polled")}}
    return {
        "GET /runs/{run_id}/events": Operation(
            tag="events",
            summary="Read a run's events",
            description="Returns the stored events, then new events as they occur. A position that the run "
            "has never reached is one of another run with the id: the stream starts over, after a `gap`.",
            parameters=[
                *position,
                param("limit", "With `application/json`: largest number of events.", integer(1, 500, 100)),
                param("wait", "With `application/json`: seconds to wait for an event.", integer(0, 60, 0)),
                param("strict", "Respond with 410 if requested events are no longer stored.", FLAG),
                param(
                    "Last-Event-ID",
                    "Sequence of the last event received; overrides `from_sequence`.",
                    integer(0, MAX_SEQUENCE),
                    "header",
                ),
            ],
            responses={
                200: response("The events.", streamed, _INCARNATION_HEADER),
                204: response("The run has ended, and the reader has its last event."),
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
            summary="Read a run's events over a WebSocket",
            description="`/asyncapi.json` describes the messages.",
            parameters=position,
            responses={101: response("The connection becomes a WebSocket (RFC 6455).")},
        ),
        "POST /runs/{run_id}/events": Operation(
            tag="events",
            summary="Push events into a run",
            description="The body is one event, an array of events, or one event per line. All are "
            "stored, or none. `complete`, `error` and `cancelled` end the run; no event may follow them.",
            parameters=[*_PUSH_PARAMETERS, INCARNATION],
            body=_PUSHED,
            responses={200: json_response(examples.PUSHED, "All events are stored.")},
            errors=(*_PUSH_ERRORS, *ingest_errors(dockfile)),
        ),
        "POST /runs/{run_id}/events/{push_token}": Operation(
            tag="events",
            summary="Push events into the run of an agent process",
            description="The agent process gets this URL in the header `X-Dockrion-Events-Url`. It needs no "
            "other credential, and is valid for that run alone.",
            parameters=_PUSH_PARAMETERS,
            body=_PUSHED,
            responses={200: json_response(examples.PUSHED, "All events are stored.")},
            errors=(*_PUSH_ERRORS, errors.Unauthorized),
        ),
    }


def ingest_errors(dockfile: Dockfile) -> ErrorTypes:
    """Return the errors of clients that may not push events, if the service does not authenticate callers."""
    if dockfile.protected:
        return ()
    return (errors.Forbidden,) if dockfile.streaming.ingest.token_env is None else (errors.Unauthorized,)
