"""The section of what operators see: `observability`."""

from typing import Annotated, Any, Literal

from msgspec import Struct

from dockrion.dockfile.annotations import doc


class ObservabilitySpec(Struct, frozen=True):
    log_level: Annotated[Literal["debug", "info", "warn", "error"], doc("Lowest level logged.")] = "info"
    tracing: Annotated[Any, doc("Accepted and ignored.")] = None
    metrics: Annotated[Any, doc("Accepted and ignored; `/metrics` is served with `expose.rest`.")] = None
    langfuse: Annotated[Any, doc("Accepted and ignored.")] = None
