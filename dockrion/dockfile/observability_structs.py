"""The section of what operators see: `observability`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dockrion.dockfile.annotations import EnvVar, doc, matching

BaseUrl = Annotated[str, matching(r"https?://[^\s/?#]+(/[^\s?#]*)?", "http(s)://host[:port][/path]")]


class TracingSpec(Struct, frozen=True):
    exporter: Annotated[
        Literal["otlp", "console", "none"] | None,
        doc("Where spans go: a collector (OTLP over HTTP), the log, or nowhere; null: OTEL_TRACES_EXPORTER."),
    ] = None
    endpoint: Annotated[
        BaseUrl | None,
        doc("URL of the collector, without `/v1/traces`; null: OTEL_EXPORTER_OTLP_ENDPOINT."),
    ] = None
    headers_env: Annotated[
        EnvVar | None,
        doc("Environment variable with the headers for the collector: `name=value,…`, percent-encoded."),
    ] = None
    sample_ratio: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        doc("Share of the traces that begin here which are exported; null: OTEL_TRACES_SAMPLER, else all."),
    ] = None
    capture_content: Annotated[
        bool, doc("Export payloads, outputs and the arguments of tools, too; secrets masked.")
    ] = False


class LangfuseSpec(Struct, frozen=True):
    enabled: Annotated[bool, doc("Send runs to Langfuse.")] = False
    host: Annotated[BaseUrl, doc("URL of Langfuse.")] = "https://cloud.langfuse.com"
    public_key_env: Annotated[EnvVar, doc("Environment variable with the project's public key.")] = (
        "LANGFUSE_PUBLIC_KEY"
    )
    secret_key_env: Annotated[EnvVar, doc("Environment variable with the project's secret key.")] = (
        "LANGFUSE_SECRET_KEY"  # noqa: S105  a name
    )


class MetricsSpec(Struct, frozen=True):
    latency: Annotated[
        bool,
        doc("Histograms of how long requests, streams, runs, first tokens and the delivery of events take."),
    ] = True
    tokens: Annotated[bool, doc("The tokens that models took, by model, where agents report them.")] = True


class ObservabilitySpec(Struct, frozen=True):
    log_level: Annotated[Literal["debug", "info", "warn", "error"], doc("Lowest level logged.")] = "info"
    tracing: Annotated[
        TracingSpec | bool | None,
        doc("OpenTelemetry traces of requests and runs: `true`, or the fields below."),
    ] = None
    metrics: Annotated[MetricsSpec, doc("What `/metrics` measures.")] = field(default_factory=MetricsSpec)
    langfuse: Annotated[LangfuseSpec, doc("Langfuse.")] = field(default_factory=LangfuseSpec)

    @property
    def tracing_spec(self) -> TracingSpec | None:
        """The section `tracing`, also if it is `true` alone; None if it is off."""
        return TracingSpec() if self.tracing is True else self.tracing or None

    @property
    def traced(self) -> bool:
        """Whether requests and runs become spans."""
        return self.tracing_spec is not None or self.langfuse.enabled
