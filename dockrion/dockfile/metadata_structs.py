"""The sections about the agent and of other tools: `metadata` and `build`."""

from typing import Annotated

from msgspec import Struct, field

from dockrion.dockfile.annotations import doc


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
