"""The sections about a service, and of other tools: `metadata`, `observability` and `build`."""

from typing import Annotated, Any, Literal

from msgspec import Struct, field

from dockrion.dockfile.annotations import doc


class ObservabilitySpec(Struct, frozen=True):
    log_level: Annotated[Literal["debug", "info", "warn", "error"], doc("Lowest level logged.")] = "info"
    tracing: Annotated[Any, doc("Accepted and ignored.")] = None
    metrics: Annotated[Any, doc("Accepted and ignored; `/metrics` is served with `expose.rest`.")] = None
    langfuse: Annotated[Any, doc("Accepted and ignored.")] = None


class MetadataSpec(Struct, frozen=True):
    maintainer: Annotated[str | None, doc("Shown by `/info`.")] = None
    version: Annotated[str | None, doc("Version of the agent; shown by `/info`.")] = None
    tags: Annotated[list[str], doc("Shown by `/info`.")] = []


class IncludeSpec(Struct, frozen=True):
    directories: Annotated[list[str], doc("Directories.")] = []
    files: Annotated[list[str], doc("Files.")] = []
    patterns: Annotated[list[str], doc("Glob patterns.")] = []


class BuildSpec(Struct, frozen=True):
    include: Annotated[IncludeSpec, doc("Files to include in an image.")] = field(default_factory=IncludeSpec)
    exclude: Annotated[list[str], doc("Files to exclude.")] = []
    auto_detect_imports: Annotated[bool, doc("Include modules that the agent imports.")] = False
