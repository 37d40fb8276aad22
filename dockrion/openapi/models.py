"""The bodies of answers, as they go out and as they are described."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dockrion.backends.run_log import Status
from dockrion.events import Utc


class Health(msgspec.Struct, frozen=True):
    status: Literal["ok"]
    service: str
    version: Annotated[str, Meta(description="Dockrion's version.")]
    timestamp: Utc
    agent: str
    framework: str | None


class Ready(msgspec.Struct, frozen=True):
    success: Literal[True]
    status: Literal["ready"]
    agent: str


class Schemas(msgspec.Struct, frozen=True):
    success: Literal[True]
    agent: str
    input_schema: Annotated[
        dict[str, Any] | None, Meta(description="The JSON Schema of bodies; null: any JSON.")
    ]
    output_schema: Annotated[
        dict[str, Any] | None, Meta(description="The JSON Schema of outputs; null: any JSON.")
    ]


class Agent(msgspec.Struct, frozen=True):
    name: str
    description: str | None
    framework: str | None
    mode: Literal["handler", "entrypoint", "url"]
    target: Annotated[str, Meta(description="What is invoked, as the Dockfile names it.")]


class Info(msgspec.Struct, frozen=True):
    success: Literal[True]
    agent: Agent
    auth_enabled: bool
    version: Annotated[str, Meta(description="Dockrion's version.")]
    metadata: Annotated[dict[str, Any], Meta(description="The Dockfile's `metadata`.")]
    endpoints: Annotated[list[str], Meta(description="What can be asked, as `METHOD /path`.")]
    heartbeat_interval: Annotated[
        int, Meta(description="Seconds of silence before a stream gets a heartbeat.")
    ]


class Invoked(msgspec.Struct, frozen=True):
    success: Literal[True]
    output: Annotated[Any, Meta(description="What the agent answered.")]
    metadata: Annotated[
        dict[str, Any],
        Meta(
            description="`agent`, `framework` and `latency_seconds`; "
            "`output_errors` where the output breaks its schema."
        ),
    ]


class Accepted(msgspec.Struct, frozen=True):
    run_id: str
    status: Status
    events_url: Annotated[str | None, Meta(description="Where the run is watched.")]
    created_at: Utc
    events_token: Annotated[
        str | UnsetType,
        Meta(description="Opens `events_url` as `?token=`, where callers have to prove who they are."),
    ] = UNSET
    events_token_expires_in: Annotated[int | UnsetType, Meta(description="Seconds.")] = UNSET


class RunCancelled(msgspec.Struct, frozen=True):
    run_id: str
    status: Literal["cancelled"]


class EventsToken(msgspec.Struct, frozen=True):
    run_id: str
    events_token: Annotated[str, Meta(description="Opens the run's events as `?token=`.")]
    events_token_expires_in: Annotated[int, Meta(description="Seconds.")]


class Pushed(msgspec.Struct, frozen=True):
    success: Literal[True]
    run_id: str
    accepted: Annotated[int, Meta(description="Events that were taken, those that the filter drops too.")]
    duplicate: Annotated[bool, Meta(description="Whether the batch had been taken before.")]


class Failure(msgspec.Struct, frozen=True):
    success: Literal[False]
    error: Annotated[str, Meta(description="What happened, and what can be done about it.")]
    code: str
    details: Annotated[Any | UnsetType, Meta(description="More, where there is more.")] = UNSET
