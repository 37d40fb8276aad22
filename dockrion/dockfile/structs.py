"""The Dockfile's sections and fields: types, defaults, limits and what each is for.

Loading, error messages, the README's table and the editors' JSON Schema all come from here.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from dockrion.dockfile.auth_structs import AuthSpec, BuildSpec, PoliciesSpec
from dockrion.dockfile.declarations import Section, Text, Variable, about, form
from dockrion.dockfile.limits_structs import LimitsSpec

DEFAULT_REDIS_URL = "${REDIS_URL}"

_IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
Callable = Annotated[str, form(_IMPORT_PATH, "module.path:callable")]
Factory = Annotated[str, form(_IMPORT_PATH, "module.path:factory")]
Url = Annotated[
    str,
    form(
        r"https?://[^\s/?#]+(/[^\s?#]*)?|unix:/[^\s:]+:/[^\s?#]*",
        "http://…, https://… or unix:/path.sock:/http/path",
    ),
]
Origin = Annotated[str, form(r"\*|https?://[^\s/?#@]+", "* or http(s)://host[:port]")]
Method = Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
SecretName = Annotated[
    str, form(r"[A-Z_][A-Z0-9_]*", "capital letters, digits and underscores, ^[A-Z_][A-Z0-9_]*$")
]


class AgentSpec(Section, frozen=True):
    name: Annotated[
        str,
        form(r"[a-z][a-z0-9-]*", "lower-case letters, digits and hyphens, ^[a-z][a-z0-9-]*$"),
        about("The agent's name; it does not end with a hyphen."),
    ]
    description: Annotated[str | None, about("What the agent does.")] = None
    handler: Annotated[Callable | None, about("A function that answers; invoked when it is there.")] = None
    entrypoint: Annotated[
        Factory | None, about("A factory of an object with `invoke`; invoked when there is no handler.")
    ] = None
    framework: Annotated[
        Literal["langgraph", "langchain", "custom"] | None,
        about("What the agent is built with: `custom` unless given; an entrypoint alone must say."),
    ] = None
    url: Annotated[
        Url | None,
        about("An agent process that already runs; invoked when there is no handler and no entrypoint."),
    ] = None
    cancel_url: Annotated[Url | None, about("Where to POST when a run of that process is stopped.")] = None
    health_url: Annotated[
        Url | None,
        about("What `/ready` asks about that process; without it, whether it can be connected to."),
    ] = None
    connect_timeout: Annotated[int, Meta(ge=1, le=300), about("Seconds to connect to that process.")] = 5
    read_timeout: Annotated[
        int, Meta(ge=1, le=86400), about("Seconds in which that process may send nothing.")
    ] = 120
    forward_identity: Annotated[
        bool, about("Tell that process who the caller is, in headers `X-Dockrion-User-Id` and so on.")
    ] = False
    total_timeout: Annotated[
        int, Meta(ge=1, le=86400), about("Seconds that process may take for one answer.")
    ] = 3600

    @property
    def mode(self) -> Literal["handler", "entrypoint", "url"]:
        """How the agent is invoked."""
        if self.handler is not None:
            return "handler"
        return "url" if self.entrypoint is None else "entrypoint"

    @property
    def takes_config(self) -> bool:
        """Whether it is one that takes a config beside its input."""
        return self.mode == "entrypoint" and self.framework in ("langgraph", "langchain")

    @property
    def target(self) -> str:
        """What is invoked."""
        return self.handler or self.entrypoint or self.url or ""


class IoSchemaSpec(Section, frozen=True):
    strict: Annotated[bool, about("Validate the agent's output, too.")] = True
    input: Annotated[
        dict[str, Any] | None,
        about("The JSON Schema of a request's body; its `type` is object unless given."),
    ] = None
    output: Annotated[dict[str, Any] | None, about("The JSON Schema of the agent's output.")] = None


class CorsSpec(Section, frozen=True):
    origins: Annotated[list[Origin], about("Who may call from a browser.")] = field(
        default_factory=lambda: ["*"]
    )
    methods: Annotated[list[Method], about("With which HTTP methods.")] = field(default_factory=lambda: ["*"])


class ExposeSpec(Section, frozen=True):
    rest: Annotated[bool, about("The REST endpoints: `/invoke`, `/health`, …")] = True
    streaming: Annotated[
        Literal["sse", "websocket", "none"], about("How events are streamed; not `none` without `rest`.")
    ] = "sse"
    port: Annotated[int, Meta(ge=1, le=65535), about("The port to listen on.")] = 8080
    host: Annotated[Text, about("The address to listen on.")] = "0.0.0.0"  # noqa: S104  a container's
    cors: Annotated[CorsSpec | None, about("Calls from browsers.")] = None


class IdGeneratorSpec(Section, frozen=True):
    type: Annotated[Literal["uuid", "custom"], about("Who makes run ids.")] = "uuid"
    handler: Annotated[Callable | None, about("The function that makes them; `custom` needs it.")] = None


class EventsSpec(Section, frozen=True):
    allowed: Annotated[
        str | list[str] | None,
        about("A preset (minimal, chat, debug, all) or the event types that are let through; null is all."),
    ] = None
    heartbeat_interval: Annotated[
        int, Meta(ge=1, le=300), about("Seconds of silence before a connection gets a heartbeat.")
    ] = 15
    max_run_duration: Annotated[int, Meta(ge=1, le=86400), about("Seconds after which a run is stopped.")] = (
        3600
    )


class ConnectionSpec(Section, frozen=True):
    default_timeout: Annotated[
        int, Meta(ge=1, le=3600), about("Seconds after which a stream of events ends.")
    ] = 300
    max_subscribers_per_run: Annotated[int, Meta(ge=1, le=1000), about("Readers of one run at a time.")] = 100
    on_disconnect: Annotated[
        Literal["cancel", "continue"],
        about("What becomes of the run when the caller of `/invoke/stream` leaves."),
    ] = "cancel"


class RedisSpec(Section, frozen=True):
    url: Annotated[
        Text, about("redis://, rediss:// or unix://; looked at only when the backend is redis.")
    ] = DEFAULT_REDIS_URL
    stream_ttl_seconds: Annotated[
        int, Meta(ge=60, le=604800), about("Seconds a finished run is kept, by the memory backend too.")
    ] = 3600
    max_events_per_run: Annotated[
        int, Meta(ge=10, le=100_000), about("Events of a run that are kept, by the memory backend too.")
    ] = 1000
    connection_pool_size: Annotated[int, Meta(ge=1), about("Connections to Redis.")] = 10


class IngestSpec(Section, frozen=True):
    enabled: Annotated[bool, about("Take events from other processes: `POST /runs/{id}/events`.")] = False
    token_env: Annotated[
        Variable | None,
        about("The variable with the token they need; without it only this machine's may post."),
    ] = None
    idle_timeout: Annotated[
        int, Meta(ge=1, le=86400), about("Seconds of silence after which a run that others feed is ended.")
    ] = 60


class StreamingSpec(Section, frozen=True):
    async_runs: Annotated[bool, about("The `/runs` endpoints.")] = True
    backend: Annotated[Literal["memory", "redis"], about("Where runs and their events are kept.")] = "memory"
    allow_client_ids: Annotated[bool, about("Callers may choose run ids: `POST /runs?run_id=…`.")] = True
    max_concurrent_runs: Annotated[
        int, Meta(ge=1, le=10_000), about("Agents that work at once, in one process.")
    ] = 100
    max_queued_runs: Annotated[int, Meta(ge=0, le=1_000_000), about("Runs that wait for a free place.")] = (
        1000
    )
    id_generator: Annotated[IdGeneratorSpec, about("Run ids.")] = field(default_factory=IdGeneratorSpec)
    events: Annotated[EventsSpec, about("Which events, and their rhythm.")] = field(
        default_factory=EventsSpec
    )
    connection: Annotated[ConnectionSpec, about("Readers' connections.")] = field(
        default_factory=ConnectionSpec
    )
    redis: Annotated[RedisSpec, about("The Redis backend.")] = field(default_factory=RedisSpec)
    ingest: Annotated[IngestSpec, about("Events from other processes.")] = field(default_factory=IngestSpec)


class ArgumentsSpec(Section, frozen=True):
    timeout_sec: Annotated[
        int, Meta(ge=0, le=86400), about("Seconds one `/invoke` may take; 0 is no limit.")
    ] = 120
    config: Annotated[
        dict[str, Any] | None, about("The config of a LangGraph graph or a LangChain runnable.")
    ] = None
    allow_request_config: Annotated[bool, about("Callers may add to it, under `_config` in the body.")] = (
        False
    )


class SecretSpec(Section, frozen=True):
    name: Annotated[SecretName, about("The environment variable.")]
    description: Annotated[str | None, about("What it is for.")] = None
    default: Annotated[str | None, about("The value it has when it is not set, or empty.")] = None


class SecretsSpec(Section, frozen=True):
    required: Annotated[list[SecretSpec], about("Without these the service does not start.")] = field(
        default_factory=list
    )
    optional: Annotated[list[SecretSpec], about("Used when they are there.")] = field(default_factory=list)


class ObservabilitySpec(Section, frozen=True):
    log_level: Annotated[Literal["debug", "info", "warn", "error"], about("What is logged.")] = "info"
    tracing: Annotated[Any, about("Accepted; not used by this service.")] = None
    metrics: Annotated[Any, about("Accepted; `/metrics` is always there with `expose.rest`.")] = None
    langfuse: Annotated[Any, about("Accepted; not used by this service.")] = None


class MetadataSpec(Section, frozen=True):
    maintainer: Annotated[str | None, about("Shown by `/info`.")] = None
    version: Annotated[str | None, about("The agent's version, shown by `/info`.")] = None
    tags: Annotated[list[str], about("Shown by `/info`.")] = field(default_factory=list)


class Dockfile(Section, frozen=True):
    """Everything one Dockfile says, defaults filled in."""

    version: Annotated[Literal["1.0"], about("The version of this format.")]
    agent: Annotated[AgentSpec, about("The agent; at least one of handler, entrypoint and url.")]
    io_schema: Annotated[IoSchemaSpec, about("What goes in and what comes out.")]
    expose: Annotated[ExposeSpec, about("How the agent is reached.")]
    streaming: Annotated[StreamingSpec, about("Runs and their events.")] = field(
        default_factory=StreamingSpec
    )
    arguments: Annotated[ArgumentsSpec, about("How the agent is called.")] = field(
        default_factory=ArgumentsSpec
    )
    limits: Annotated[LimitsSpec, about("What callers and agents may cost.")] = field(
        default_factory=LimitsSpec
    )
    secrets: Annotated[SecretsSpec, about("Environment variables whose values stay hidden.")] = field(
        default_factory=SecretsSpec
    )
    observability: Annotated[ObservabilitySpec, about("Logs and traces.")] = field(
        default_factory=ObservabilitySpec
    )
    metadata: Annotated[MetadataSpec, about("About the agent.")] = field(default_factory=MetadataSpec)
    auth: Annotated[AuthSpec | None, about("Who may call; everybody without this section.")] = None
    policies: Annotated[PoliciesSpec | None, about("What may go in and out.")] = None
    build: Annotated[BuildSpec | None, about("What goes into an image; not used by this service.")] = None

    @property
    def protected(self) -> bool:
        """Whether callers have to prove who they are."""
        return self.auth is not None and self.auth.mode != "none"

    @property
    def allowed_tools(self) -> list[str] | None:
        """The tools that the agent may call; None for every tool."""
        tools = self.policies.tools if self.policies is not None else None
        return tools.allowed if tools is not None and tools.deny_by_default else None
