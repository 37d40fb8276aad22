"""The sections of what is served to clients: `expose` and `openai`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dockrion.dockfile.annotations import NonEmpty, doc, matching

Origin = Annotated[str, matching(r"\*|https?://[^\s/?#@]+", "* or http(s)://host[:port]")]
Method = Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PROXY_FORM = "an IP address, a network such as 10.0.0.0/8, or unix"
TrustedProxy = Annotated[str, matching(r"unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?", PROXY_FORM)]
# Characters that mean the same in a URL, in HTML and in JSON, and no segment that goes up.
ROOT_PATH_PATTERN = r"(?=.{0,256}$)(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~@:+-]+)*"
RootPath = Annotated[
    str, matching(ROOT_PATH_PATTERN, "a path such as /agents/writer, with no slash at its end")
]
ProtocolName = Literal["openai", "ag-ui", "vercel-ai", "a2a", "mcp"]


class CorsSpec(Struct, frozen=True):
    origins: Annotated[list[Origin], doc("Origins whose pages may call.")] = field(
        default_factory=lambda: ["*"]
    )
    methods: Annotated[list[Method], doc("HTTP methods that they may use.")] = field(
        default_factory=lambda: ["*"]
    )


class TlsSpec(Struct, frozen=True):
    certificate: Annotated[
        NonEmpty,
        doc("File of the certificate, and of those that certify it, in PEM; from the Dockfile's folder."),
    ]
    key: Annotated[NonEmpty, doc("File of its private key, likewise; not encrypted.")]


class ExposeSpec(Struct, frozen=True):
    rest: Annotated[bool, doc("Serve the REST endpoints (`/invoke`, `/health`, …).")] = True
    streaming: Annotated[
        Literal["sse", "websocket", "none"], doc("Transport of events; not `none` if `rest` is false.")
    ] = "sse"
    protocols: Annotated[
        list[ProtocolName], doc("Protocols of other clients to serve: openai, ag-ui, vercel-ai, a2a, mcp.")
    ] = []
    port: Annotated[int, Meta(ge=1, le=65535), doc("The port to listen on.")] = 8080
    host: Annotated[NonEmpty, doc("The address to listen on.")] = "0.0.0.0"  # noqa: S104  a container's
    root_path: Annotated[
        RootPath, doc("The path below which a reverse proxy serves this service, such as /agents/writer.")
    ] = ""
    trusted_proxies: Annotated[
        list[TrustedProxy] | None,
        doc(
            "Addresses and networks of reverse proxies, whose `Forwarded` or `X-Forwarded-For`, `-Proto`, "
            "`-Host` and `-Prefix` say who called what; `unix` for the peers of a unix socket."
        ),
    ] = None
    tls: Annotated[
        TlsSpec | None, doc("Serve HTTPS instead of HTTP, on TCP sockets; SIGHUP reads the files again.")
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
