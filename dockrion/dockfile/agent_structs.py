"""The sections of the agent: `agent`, `io_schema` and `arguments`."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from dockrion.dockfile.annotations import Callable, EnvVar, Factory, NonEmpty, doc, matching

Url = Annotated[
    str,
    matching(
        r"https?://[^\s/?#]+(/[^\s?#]*)?|unix:/[^\s:]+:/[^\s?#]*",
        "http://…, https://… or unix:/path.sock:/http/path",
    ),
]
HeaderName = Annotated[str, matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of an HTTP header")]
AgentName = Annotated[
    str, matching(r"[a-z][a-z0-9-]*", "lower-case letters, digits and hyphens, ^[a-z][a-z0-9-]*$")
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
    protocol: Annotated[
        Literal["dockrion", "openai", "ag-ui", "a2a"] | None,
        doc("What the server at `url` speaks; null: it gets payloads as they are, and its responses tell."),
    ] = None
    model: Annotated[
        NonEmpty | None, doc("Model that the server at `url` is asked for; required with protocol `openai`.")
    ] = None
    token_env: Annotated[
        EnvVar | None,
        doc("Environment variable with the key or token for `url`, sent as `Authorization: Bearer`."),
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
