"""The bodies of responses, as they are sent and as they are described."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dockrion.backends.run_log import Status
from dockrion.dependency import State
from dockrion.dockfile.annotations import doc
from dockrion.events import Utc

_INVOKED_METADATA = {
    "properties": {
        "agent": {"type": "string"},
        "framework": {"type": ["string", "null"]},
        "latency_seconds": {"type": "number"},
        "output_errors": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": True},
            "description": "How the output violates its schema; absent if it does not.",
        },
    },
    "required": ["agent", "framework", "latency_seconds"],
    "additionalProperties": True,
}


class Health(msgspec.Struct, frozen=True):
    status: Literal["ok"]
    service: str
    version: Annotated[str, doc("Dockrion's version.")]
    timestamp: Utc
    agent: str
    framework: str | None


class DependencyReport(msgspec.Struct, frozen=True, omit_defaults=True):
    state: State
    since: Annotated[Utc, doc("When it has entered this state, or when this process has first noticed that.")]
    reason: Annotated[str | UnsetType, doc("Why it is not up.")] = UNSET
    latency_seconds: Annotated[float | UnsetType, doc("How long it took to respond just now.")] = UNSET
    waiting: Annotated[int | UnsetType, doc("How many runs or webhooks wait in it.")] = UNSET
    oldest_seconds: Annotated[float | UnsetType, doc("How long the first of them has waited.")] = UNSET


class Ready(msgspec.Struct, frozen=True):
    success: Literal[True]
    status: Literal["ready"]
    agent: str
    instance: Annotated[
        str | UnsetType,
        doc("With `dockrion run --reload` only: changes whenever the service is restarted."),
    ] = UNSET
    dependencies: Annotated[
        dict[str, DependencyReport] | UnsetType,
        doc("With `verbose` only: what the service needs. With status 503 it is in `details`."),
    ] = UNSET


class Schemas(msgspec.Struct, frozen=True):
    success: Literal[True]
    agent: str
    input_schema: Annotated[
        dict[str, Any] | None, doc("JSON Schema of request bodies; null accepts any JSON.")
    ]
    output_schema: Annotated[dict[str, Any] | None, doc("JSON Schema of outputs; null accepts any JSON.")]
    threads: Annotated[
        bool, doc("Whether the thread that `_config.configurable.thread_id` of a body names is continued.")
    ]


class Agent(msgspec.Struct, frozen=True):
    name: str
    description: str | None
    framework: str | None
    mode: Literal["handler", "entrypoint", "url"]
    target: Annotated[str, doc("What is invoked: an import path or a URL.")]


class Info(msgspec.Struct, frozen=True):
    success: Literal[True]
    agent: Agent
    role: Annotated[
        Literal["api", "worker", "all"], doc("Whether this process executes runs, or leaves them to workers.")
    ]
    auth_enabled: bool
    version: Annotated[str, doc("Dockrion's version.")]
    metadata: Annotated[dict[str, Any], doc("The Dockfile's `metadata`.")]
    endpoints: Annotated[list[str], doc("The endpoints, as `METHOD /path`.")]
    protocols: Annotated[list[str], doc("Whose clients are served besides Dockrion's: `expose.protocols`.")]
    heartbeat_interval: Annotated[
        int, doc("Seconds without an event after which a stream sends a heartbeat.")
    ]


class Invoked(msgspec.Struct, frozen=True):
    success: Literal[True]
    output: Annotated[Any, doc("The agent's output.")]
    metadata: Annotated[
        dict[str, Any],
        msgspec.Meta(extra_json_schema=_INVOKED_METADATA),
    ]


class Accepted(msgspec.Struct, frozen=True):
    run_id: str
    status: Status
    events_url: Annotated[str | None, doc("URL of the run's events.")]
    created_at: Utc
    events_token: Annotated[
        str | UnsetType,
        doc("Authorizes reading `events_url`, as `?token=`; present if callers must authenticate."),
    ] = UNSET
    events_token_expires_in: Annotated[int | UnsetType, doc("Lifetime in seconds.")] = UNSET


class RunCancelled(msgspec.Struct, frozen=True):
    run_id: str
    status: Literal["cancelled"]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request_id: Annotated[str, doc("The question, from its `input_requested` event or `waiting_for`.")]
    value: Annotated[Any, doc("The answer; it has to match the question's `schema`.")]


class AnswerAccepted(msgspec.Struct, frozen=True):
    run_id: str
    request_id: str
    status: Literal["accepted"]


class FetchedAnswer(msgspec.Struct, frozen=True):
    run_id: str
    request_id: str
    value: Annotated[Any, doc("The answer.")]


class EventsToken(msgspec.Struct, frozen=True):
    run_id: str
    events_token: Annotated[str, doc("Authorizes reading the run's events, as `?token=`.")]
    events_token_expires_in: Annotated[int, doc("Lifetime in seconds.")]


class Pushed(msgspec.Struct, frozen=True):
    success: Literal[True]
    run_id: str
    accepted: Annotated[int, doc("Number of events accepted, including those that the filter drops.")]
    duplicate: Annotated[bool, doc("Whether the batch had been accepted before.")]


class Failure(msgspec.Struct, frozen=True):
    success: Literal[False]
    error: Annotated[str, doc("What happened, and what the caller can do about it.")]
    code: str
    details: Annotated[Any | UnsetType, doc("Further information, if any.")] = UNSET


class RunError(msgspec.Struct, frozen=True):
    error: str
    code: str
    details: Any
