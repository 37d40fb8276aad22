"""What each endpoint is for, what it takes, and what it answers."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from dockrion import errors, ids
from dockrion.backends.base import Status
from dockrion.describe import samples
from dockrion.describe.failures import Kinds
from dockrion.describe.operation import (
    EVENT_STREAM,
    JSON,
    Answer,
    Operation,
    flag,
    header,
    one,
    query,
    whole,
)
from dockrion.describe.schemas import inlined, ref
from dockrion.dockfile import Dockfile
from dockrion.ingest import MAX_BATCH

MAX_SEQUENCE = 2**63 - 1
_HTML = "text/html"
_EVENT = ref("PushedEvent")
_BATCH = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MAX_BATCH}
_TOKEN = {"type": "token", "content": "Hello"}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_RESUME = {"X-Run-Id": "The run.", "Location": "Where the run's events are, to resume."}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations of a service, by method and path."""
    return _service(dockfile) | _invoking(dockfile) | _runs(dockfile) | _events(dockfile)


def _service(dockfile: Dockfile) -> dict[str, Operation]:
    def page(summary: str) -> Operation:
        return Operation("service", summary, {200: Answer("The page.", {_HTML: _TEXT})})

    def document(summary: str) -> Operation:
        media = {JSON: {"schema": {"type": "object"}}}
        return Operation("description", summary, {200: Answer("The document.", media)})

    return {
        "GET /": page("A page for people"),
        "GET /health": Operation(
            "service", "Whether the process lives", {200: one(samples.health(dockfile), "It does.")}
        ),
        "GET /ready": Operation(
            "service",
            "Whether the service takes work",
            {200: one(samples.ready(dockfile), "It does.")},
            errors=(errors.ServiceUnavailable,),
        ),
        "GET /metrics": Operation(
            "service", "Metrics for Prometheus", {200: Answer("The metrics.", {"text/plain": _TEXT})}
        ),
        "GET /schema": Operation(
            "description",
            "The schemas of input and output",
            {200: one(samples.schemas(dockfile), "As the Dockfile has them.")},
        ),
        "GET /info": Operation(
            "description",
            "The agent, and the Dockfile's metadata",
            {200: one(samples.info(dockfile), "The agent.")},
        ),
        "GET /openapi.json": document("This description, as OpenAPI 3.1"),
        "GET /asyncapi.json": document("The streams of events, as AsyncAPI 3.0"),
        "GET /docs": page("This description, for people"),
        "GET /docs/{file}": Operation(
            "description",
            "What the page of the description is made of",
            {200: Answer("The file.", {"text/css": _TEXT, "text/javascript": _TEXT})},
            errors=(errors.NotFound,),
        ),
    }


def _invoking(dockfile: Dockfile) -> dict[str, Operation]:
    streamed = "The run's events as they happen, from the first."
    headers = _RESUME if dockfile.streaming.async_runs else {}
    return {
        "POST /invoke": Operation(
            "invoke",
            "Ask the agent, and wait for its answer",
            {200: one(samples.invoked(dockfile), "The agent's output.")},
            _input_note(dockfile),
            body={JSON: _input(dockfile, "/invoke")},
            errors=(*_starting(dockfile), *_agent_s(dockfile)),
        ),
        "POST /invoke/stream": Operation(
            "invoke",
            "Ask the agent, and watch it work",
            {200: Answer(streamed, {EVENT_STREAM: stream(dockfile)}, headers)},
            _input_note(dockfile),
            [
                query(
                    "on_disconnect",
                    "What becomes of the run when the caller leaves.",
                    {
                        "type": "string",
                        "enum": ["cancel", "continue"],
                        "default": dockfile.streaming.connection.on_disconnect,
                    },
                )
            ],
            {JSON: _input(dockfile, "/invoke/stream")},
            (*_starting(dockfile),),
        ),
    }


def _runs(dockfile: Dockfile) -> dict[str, Operation]:
    streaming = dockfile.streaming
    chosen: list[dict[str, Any]] = []
    taken: Kinds = (errors.RunExists,) if streaming.id_generator.type == "custom" else ()
    strangers: Kinds = ()
    if streaming.allow_client_ids:
        chosen.append(query("run_id", "The run's id, of the caller's choice.", run_id_schema()))
        taken = (errors.RunExists,)
    if streaming.ingest.enabled:
        chosen.append(query("external", "The run is fed by others; there is no body then.", flag()))
        strangers = _strangers(dockfile)
    reason = {"type": "string", "maxLength": 1000}
    lookup: Kinds = (errors.RunNotFound, errors.ServiceUnavailable)
    token = one(samples.EVENTS_TOKEN, "The token.")
    return {
        "POST /runs": Operation(
            "runs",
            "Start a run",
            {202: one(samples.accepted(dockfile), "The run goes on by itself.", {"Location": "The run."})},
            _input_note(dockfile),
            chosen,
            {JSON: _input(dockfile, "/runs")},
            (*_starting(dockfile), *taken, *strangers),
            body_required=not streaming.ingest.enabled,
        ),
        "GET /runs": Operation(
            "runs",
            "List runs, newest first",
            {
                200: Answer(
                    "Runs without their outputs. There are more while `next` is not null.",
                    {JSON: {"schema": ref("RunList"), "example": samples.listing(dockfile)}},
                )
            },
            parameters=[
                query("status", "Only runs in this status.", {"type": "string", "enum": [*get_args(Status)]}),
                query("limit", "How many runs at most.", whole(1, 500, 100)),
                query("cursor", "The `next` of an earlier answer.", {"type": "string"}),
            ],
            errors=(errors.ServiceUnavailable,),
        ),
        "GET /runs/{run_id}": Operation(
            "runs",
            "Look at a run",
            {200: Answer("The run.", {JSON: {"schema": ref("Run"), "example": samples.run(dockfile)}})},
            errors=lookup,
        ),
        "DELETE /runs/{run_id}": Operation(
            "runs",
            "Cancel a run",
            {200: one(samples.CANCELLED, "The agent has stopped.")},
            parameters=[query("reason", "Why; readers are told.", reason)],
            errors=lookup,
        ),
        "POST /runs/{run_id}/token": Operation(
            "runs", "Get one more token for the run's events", {200: token}, errors=lookup
        ),
    }


def _events(dockfile: Dockfile) -> dict[str, Operation]:
    pushed = {"schema": {"oneOf": [_EVENT, _BATCH]}, "example": _TOKEN}
    lines = {"schema": {"type": "string"}, "example": msgspec.json.encode(_TOKEN).decode() + "\n"}
    default = dockfile.streaming.connection.default_timeout
    return {
        "GET /runs/{run_id}/events": Operation(
            "events",
            "Watch a run",
            {
                200: Answer(
                    "The run's events: those that there are, then those to come.",
                    {EVENT_STREAM: stream(dockfile)},
                ),
                204: Answer("The reader has the last event of a finished run."),
            },
            parameters=[
                query("from_sequence", "The first event wanted.", whole(0, MAX_SEQUENCE, 0)),
                query("timeout", "Seconds after which the stream ends.", whole(1, 3600, default)),
                query("strict", "Refuse with 410 when events are no longer kept.", flag()),
                header(
                    "Last-Event-ID",
                    "The last event that the reader has; wins over `from_sequence`.",
                    whole(0, MAX_SEQUENCE),
                ),
            ],
            errors=(
                errors.RunNotFound,
                errors.Gone,
                errors.TooManySubscribers,
                errors.ServiceUnavailable,
            ),
        ),
        "POST /runs/{run_id}/events": Operation(
            "events",
            "Push events into a run",
            {200: one(samples.PUSHED, "All of them were taken.")},
            "One event, an array, or one in each line, all of which are taken or none. "
            "`complete`, `error` and `cancelled` end the run, and nothing may follow them.",
            [query("producer_seq", "The batch's number in the run, from 1.", whole(1, MAX_SEQUENCE))],
            {JSON: pushed, "application/x-ndjson": lines},
            (
                errors.RunNotFound,
                errors.Conflict,
                errors.PayloadTooLarge,
                errors.UnsupportedMediaType,
                errors.ServiceUnavailable,
                *_strangers(dockfile),
            ),
        ),
    }


def run_id_schema() -> dict[str, Any]:
    """Return the schema of run ids."""
    return {"type": "string", "pattern": f"^{ids.RUN_ID.pattern}$"}


def stream(dockfile: Dockfile) -> dict[str, Any]:
    """Return the media type object of a stream of Server-Sent Events (WHATWG HTML, 9.2).

    Its schema is that of one event, as tools expect it: OpenAPI 3.1 says nothing of streams, and
    3.2 calls such a schema `itemSchema`.
    """
    contents = [ref(name) for name in ("Event", "Gap", "Notice", "Heartbeat")]
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": {"anyOf": contents}}
    fields = {
        "id": {"type": "string", "description": "The event's `sequence`; control frames have none."},
        "event": {"type": "string", "description": "The event's `type`, or a control frame's."},
        "data": data,
    }
    item = {"type": "object", "properties": fields, "required": ["event", "data"]}
    return {"schema": item, "example": samples.frames(dockfile)}


def _input(dockfile: Dockfile, path: str) -> dict[str, Any]:
    """Return the media type object of what is posted to a path for the agent."""
    place = path.replace("/", "~1")
    pointer = f"#/paths/{place}/post/requestBody/content/application~1json/schema"
    return {"schema": inlined(dockfile.io_schema.input, pointer)}


def _input_note(dockfile: Dockfile) -> str:
    if not (dockfile.agent.takes_config and dockfile.arguments.allow_request_config):
        return ""
    return (
        "Beside the input the body may have `_config`, a config of the graph; with its `thread_id`, "
        '`{"resume": …, "_config": …}` goes on where the thread was interrupted.'
    )


def _starting(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Return what can go wrong where the agent is asked."""
    policies, auth = dockfile.policies, dockfile.auth
    if policies is not None and policies.safety is not None and policies.safety.block_prompt_injection:
        yield errors.PolicyViolation
    if auth is not None and auth.rate_limits:
        yield errors.RateLimited
    yield errors.PayloadTooLarge
    yield errors.UnsupportedMediaType
    yield errors.TooManyRuns
    yield errors.ServiceUnavailable


def _agent_s(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Return what can go wrong with the agent itself."""
    yield errors.AgentFailed
    yield errors.InvalidOutput
    if dockfile.policies is not None:
        yield errors.PolicyBroken
    if dockfile.agent.mode == "url":
        yield errors.AgentDisconnected
        yield errors.AgentGarbled
    if dockfile.arguments.timeout_sec:
        yield errors.AgentTimedOut


def _strangers(dockfile: Dockfile) -> Kinds:
    """Return how those are refused who may not feed runs, where callers need not say who they are."""
    if dockfile.protected:
        return ()
    return (errors.Forbidden,) if dockfile.streaming.ingest.token_env is None else (errors.Unauthorized,)
