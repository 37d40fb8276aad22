"""The Dockfile's sections and fields: types, defaults, constraints and descriptions.

Decoding, error messages, the guide's field table and the editors' JSON Schema are derived from these
structs. `auth` is in `auth_structs`, `limits` and `policies` are in `limits_structs`, `metadata`,
`observability` and `build` are in `metadata_structs`, `webhooks` is in `webhooks_structs`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from dockrion.dockfile.annotations import EnvVar, NonEmpty, doc, matching
from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.limits_structs import LimitsSpec, PoliciesSpec
from dockrion.dockfile.metadata_structs import BuildSpec, MetadataSpec, ObservabilitySpec
from dockrion.dockfile.webhooks_structs import WebhooksSpec, WebhookTargetSpec

DEFAULT_REDIS_URL = "${REDIS_URL}"

_IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
Callable = Annotated[str, matching(_IMPORT_PATH, "module.path:callable")]
Factory = Annotated[str, matching(_IMPORT_PATH, "module.path:factory")]
Url = Annotated[
    str,
    matching(
        r"https?://[^\s/?#]+(/[^\s?#]*)?|unix:/[^\s:]+:/[^\s?#]*",
        "http://…, https://… or unix:/path.sock:/http/path",
    ),
]
Origin = Annotated[str, matching(r"\*|https?://[^\s/?#@]+", "* or http(s)://host[:port]")]
Method = Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HeaderName = Annotated[str, matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of an HTTP header")]
AgentName = Annotated[
    str, matching(r"[a-z][a-z0-9-]*", "lower-case letters, digits and hyphens, ^[a-z][a-z0-9-]*$")
]
KeyPrefix = Annotated[
    str,
    matching(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", "a letter or digit, then up to 63 of these, _, ., : and -"),
]
SecretName = Annotated[
    str, matching(r"[A-Z_][A-Z0-9_]*", "capital letters, digits and underscores, ^[A-Z_][A-Z0-9_]*$")
]


class ChatSpec(Struct, frozen=True):
    field: Annotated[
        NonEmpty | None,
        doc("Field of the payload for the last user message's text; null: all messages, in `messages`."),
    ] = None
    output: Annotated[
        NonEmpty | None,
        doc("Where an output has the text of the reply, as `answer.text`; null: where it usually is."),
    ] = None


class AgentSpec(Struct, frozen=True):
    name: Annotated[AgentName, doc("Name of the agent; must not end with a hyphen.")]
    description: Annotated[str | None, doc("What the agent does, for readers.")] = None
    handler: Annotated[
        Callable | None, doc("Function that handles a request; takes precedence over entrypoint and url.")
    ] = None
    entrypoint: Annotated[
        Factory | None,
        doc("Factory that returns an object with `invoke` or `ainvoke`; ignored with a handler."),
    ] = None
    framework: Annotated[
        Literal["langgraph", "langchain", "custom"] | None,
        doc("Framework the agent is built with; defaults to `custom`, required with an entrypoint alone."),
    ] = None
    url: Annotated[
        Url | None,
        doc("Address of an agent process that already runs; ignored with a handler or an entrypoint."),
    ] = None
    cancel_url: Annotated[Url | None, doc("URL that receives a POST when a run is stopped.")] = None
    input_url: Annotated[
        Url | None, doc("URL that receives a POST with each answer to a question of the agent process.")
    ] = None
    health_url: Annotated[
        Url | None,
        doc("Health endpoint of the agent process, queried by `/ready`; default: test the connection."),
    ] = None
    connect_timeout: Annotated[int, Meta(ge=1, le=300), doc("Seconds to connect to the agent process.")] = 5
    read_timeout: Annotated[
        int, Meta(ge=1, le=86400), doc("Seconds without data from the agent process.")
    ] = 120
    forward_identity: Annotated[
        bool,
        doc("Send the caller's identity to the agent process, in `X-Dockrion-User-Id` and related headers."),
    ] = False
    forward_headers: Annotated[
        list[HeaderName],
        doc("Headers of callers' requests for the agent: in `context.request.headers`, or to `agent.url`."),
    ] = []
    total_timeout: Annotated[int, Meta(ge=1, le=86400), doc("Seconds for one whole response.")] = 3600
    chat: Annotated[
        ChatSpec | Literal["messages"],
        doc("How conversations of `expose.protocols` become payloads, and outputs become replies."),
    ] = "messages"

    @property
    def chat_spec(self) -> ChatSpec:
        """The section `chat`, also if it is a name alone."""
        return self.chat if isinstance(self.chat, ChatSpec) else ChatSpec()

    @property
    def mode(self) -> Literal["handler", "entrypoint", "url"]:
        """The field that says how the agent is invoked."""
        if self.handler is not None:
            return "handler"
        return "url" if self.entrypoint is None else "entrypoint"

    @property
    def takes_config(self) -> bool:
        """Whether the agent is invoked with a LangChain config beside its input."""
        return self.mode == "entrypoint" and self.framework in ("langgraph", "langchain")

    @property
    def target(self) -> str:
        """The import path or URL that is invoked."""
        return self.handler or self.entrypoint or self.url or ""


class IoSchemaSpec(Struct, frozen=True):
    strict: Annotated[bool, doc("Validate the agent's output as well as its input.")] = True
    input: Annotated[
        dict[str, Any] | None,
        doc("JSON Schema of the input, default type: object; null: from the handler's annotations."),
    ] = None
    output: Annotated[
        dict[str, Any] | None, doc("JSON Schema of the agent's output; null: from the handler's annotations.")
    ] = None


class CorsSpec(Struct, frozen=True):
    origins: Annotated[list[Origin], doc("Origins whose pages may call.")] = field(
        default_factory=lambda: ["*"]
    )
    methods: Annotated[list[Method], doc("HTTP methods that they may use.")] = field(
        default_factory=lambda: ["*"]
    )


PROXY_FORM = "an IP address, a network such as 10.0.0.0/8, or unix"
TrustedProxy = Annotated[str, matching(r"unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?", PROXY_FORM)]
ProtocolName = Literal["openai", "ag-ui", "vercel-ai"]


class ExposeSpec(Struct, frozen=True):
    rest: Annotated[bool, doc("Serve the REST endpoints (`/invoke`, `/health`, …).")] = True
    streaming: Annotated[
        Literal["sse", "websocket", "none"], doc("Transport of events; not `none` if `rest` is false.")
    ] = "sse"
    protocols: Annotated[
        list[ProtocolName], doc("Protocols of other clients to serve: openai, ag-ui, vercel-ai.")
    ] = []
    port: Annotated[int, Meta(ge=1, le=65535), doc("The port to listen on.")] = 8080
    host: Annotated[NonEmpty, doc("The address to listen on.")] = "0.0.0.0"  # noqa: S104  a container's
    trusted_proxies: Annotated[
        list[TrustedProxy] | None,
        doc(
            "Addresses and networks of reverse proxies, whose `Forwarded` or `X-Forwarded-For`, `-Proto` and "
            "`-Host` say who called; `unix` for the peers of a unix socket."
        ),
    ] = None
    cors: Annotated[CorsSpec | None, doc("Cross-origin requests from browsers.")] = None

    @property
    def streams(self) -> bool:
        """Whether any endpoint shows the events of runs."""
        return self.streaming != "none" or bool(self.protocols)


class OpenAISpec(Struct, frozen=True):
    show_tools: Annotated[
        bool, doc("Show the agent's tool calls in chat completions, whose client must not run them.")
    ] = False


class IdGeneratorSpec(Struct, frozen=True):
    type: Annotated[Literal["uuid", "custom"], doc("Source of run ids.")] = "uuid"
    handler: Annotated[Callable | None, doc("Function that returns a run id; required with custom.")] = None


class EventsSpec(Struct, frozen=True):
    allowed: Annotated[
        str | list[str] | None,
        doc("A preset (minimal, chat, debug, all) or a list of event types to deliver; null delivers all."),
    ] = None
    heartbeat_interval: Annotated[
        int, Meta(ge=1, le=300), doc("Seconds without an event after which a stream sends a heartbeat.")
    ] = 15
    max_run_duration: Annotated[int, Meta(ge=1, le=86400), doc("Seconds until a run is stopped.")] = 3600
    waiting_counts: Annotated[
        bool, doc("Whether `max_run_duration` includes the time in which an agent waits for an answer.")
    ] = True


class ConnectionSpec(Struct, frozen=True):
    default_timeout: Annotated[int, Meta(ge=1, le=3600), doc("Seconds until an event stream is closed.")] = (
        300
    )
    max_subscribers_per_run: Annotated[int, Meta(ge=1, le=1000), doc("Concurrent readers of one run.")] = 100
    on_disconnect: Annotated[
        Literal["cancel", "continue"],
        doc(
            "Whether a run is cancelled or continues when its caller, of `/invoke/stream` or in another "
            "protocol, disconnects."
        ),
    ] = "cancel"


class RedisSpec(Struct, frozen=True):
    url: Annotated[
        NonEmpty,
        doc("URL of Redis: redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://."),
    ] = DEFAULT_REDIS_URL
    stream_ttl_seconds: Annotated[
        int, Meta(ge=60, le=604800), doc("Seconds for which a finished run is stored, with either backend.")
    ] = 3600
    max_events_per_run: Annotated[
        int, Meta(ge=10, le=100_000), doc("Events stored per run, with either backend.")
    ] = 10_000
    connection_pool_size: Annotated[int, Meta(ge=1), doc("Connections to Redis.")] = 10
    key_prefix: Annotated[
        KeyPrefix, doc("What all keys in Redis begin with; services with different ones share nothing.")
    ] = "dockrion"


class IngestSpec(Struct, frozen=True):
    enabled: Annotated[bool, doc("Accept events from other processes: `POST /runs/{id}/events`.")] = False
    token_env: Annotated[
        EnvVar | None,
        doc("Environment variable with the token for pushing events into any run, and for external runs."),
    ] = None
    idle_timeout: Annotated[
        int, Meta(ge=1, le=86400), doc("Seconds without a pushed event after which an external run fails.")
    ] = 60


class StreamingSpec(Struct, frozen=True):
    async_runs: Annotated[bool, doc("Serve the `/runs` endpoints.")] = True
    backend: Annotated[Literal["memory", "redis"], doc("Storage of runs and their events.")] = "memory"
    allow_client_ids: Annotated[bool, doc("Let callers choose run ids: `POST /runs?run_id=…`.")] = True
    store_input: Annotated[
        bool | None,
        doc("Keep the input with each run's record, which shows it; null: with the memory backend only."),
    ] = None
    max_concurrent_runs: Annotated[int, Meta(ge=1, le=10_000), doc("Concurrent runs, per process.")] = 100
    max_queued_runs: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        doc("Runs waiting for a slot; per process with memory, in all with redis."),
    ] = 1000
    on_worker_lost: Annotated[
        Literal["fail", "retry"],
        doc("Whether a run whose process has died or shut down ends or begins again; retry needs redis."),
    ] = "fail"
    max_attempts: Annotated[
        int, Meta(ge=1, le=10), doc("How often a run may begin, with `on_worker_lost: retry`.")
    ] = 2
    id_generator: Annotated[IdGeneratorSpec, doc("Run ids.")] = field(default_factory=IdGeneratorSpec)
    events: Annotated[EventsSpec, doc("Event filter and timing.")] = field(default_factory=EventsSpec)
    connection: Annotated[ConnectionSpec, doc("Reader connections.")] = field(default_factory=ConnectionSpec)
    redis: Annotated[RedisSpec, doc("Redis, and retention of runs.")] = field(default_factory=RedisSpec)
    ingest: Annotated[IngestSpec, doc("Events from other processes.")] = field(default_factory=IngestSpec)

    @property
    def attempts(self) -> int:
        """How often a run may begin."""
        return self.max_attempts if self.on_worker_lost == "retry" else 1

    @property
    def stores_input(self) -> bool:
        """Whether the input of a run is kept, which is of use only where records can be read."""
        wanted = self.backend == "memory" if self.store_input is None else self.store_input
        return self.async_runs and wanted


class ArgumentsSpec(Struct, frozen=True):
    timeout_sec: Annotated[int, Meta(ge=0, le=86400), doc("Seconds for one `/invoke`; 0 for no limit.")] = 120
    config: Annotated[dict[str, Any] | None, doc("Config of a LangGraph graph or LangChain runnable.")] = None
    allow_request_config: Annotated[bool, doc("Let callers extend it with `_config` in the body.")] = False
    interrupts: Annotated[
        Literal["end", "wait"],
        doc("Whether an interrupted LangGraph graph ends its run, or asks a caller and continues."),
    ] = "end"
    stream_values: Annotated[
        bool, doc("Emit each state of a LangGraph graph as a `custom:values` event.")
    ] = False


class SecretSpec(Struct, frozen=True):
    name: Annotated[SecretName, doc("Name of the environment variable.")]
    description: Annotated[str | None, doc("Purpose, for readers.")] = None
    default: Annotated[str | None, doc("Value if the variable is unset or empty.")] = None


class SecretsSpec(Struct, frozen=True):
    required: Annotated[list[SecretSpec], doc("Secrets without which the service does not start.")] = []
    optional: Annotated[list[SecretSpec], doc("Secrets that may be missing.")] = []


class Dockfile(Struct, frozen=True):
    """A whole Dockfile, defaults filled in."""

    version: Annotated[Literal["1.0"], doc("Version of the Dockfile format.")]
    agent: Annotated[AgentSpec, doc("The agent; needs at least one of handler, entrypoint and url.")]
    io_schema: Annotated[IoSchemaSpec, doc("Schemas of input and output; without them, any JSON.")] = field(
        default_factory=IoSchemaSpec
    )
    expose: Annotated[ExposeSpec, doc("Network interface.")] = field(default_factory=ExposeSpec)
    openai: Annotated[OpenAISpec, doc("The protocol `openai`.")] = field(default_factory=OpenAISpec)
    streaming: Annotated[StreamingSpec, doc("Runs and their events.")] = field(default_factory=StreamingSpec)
    arguments: Annotated[ArgumentsSpec, doc("Agent invocation.")] = field(default_factory=ArgumentsSpec)
    limits: Annotated[LimitsSpec, doc("Limits on what callers and agents may consume.")] = field(
        default_factory=LimitsSpec
    )
    secrets: Annotated[SecretsSpec, doc("Environment variables whose values are masked everywhere.")] = field(
        default_factory=SecretsSpec
    )
    observability: Annotated[ObservabilitySpec, doc("Logging.")] = field(default_factory=ObservabilitySpec)
    metadata: Annotated[MetadataSpec, doc("About the agent.")] = field(default_factory=MetadataSpec)
    auth: Annotated[AuthSpec | None, doc("Authentication; without this section everybody may call.")] = None
    policies: Annotated[PoliciesSpec | None, doc("Rules for the content of requests and outputs.")] = None
    webhooks: Annotated[
        WebhooksSpec | list[WebhookTargetSpec] | None,
        doc("Services that are told of the events of runs: a list of targets, or the fields below."),
    ] = None
    build: Annotated[BuildSpec | None, doc("Accepted and ignored; no image is built.")] = None

    @property
    def protected(self) -> bool:
        """Whether callers must authenticate."""
        return self.auth is not None and self.auth.mode != "none"

    @property
    def webhooks_spec(self) -> WebhooksSpec | None:
        """The section `webhooks`, also if it is a list of targets alone."""
        return WebhooksSpec(self.webhooks) if isinstance(self.webhooks, list) else self.webhooks

    @property
    def allowed_tools(self) -> list[str] | None:
        """The only tools the agent may call; None if it may call every tool."""
        tools = self.policies.tools if self.policies is not None else None
        return tools.allowed if tools is not None and tools.deny_by_default else None
