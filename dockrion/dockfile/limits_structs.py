"""The sections that restrict callers and agents: `limits` and `policies`."""

from typing import Annotated

from msgspec import Meta, Struct

from dockrion.dockfile.annotations import NonEmpty, doc
from dockrion.events import MAX_EVENT_BYTES

_MIB = 1024 * 1024


class LimitsSpec(Struct, frozen=True):
    max_body_bytes: Annotated[
        int, Meta(ge=1, le=1024 * _MIB), doc("Largest request body, in bytes after decompression.")
    ] = 10 * _MIB
    max_header_bytes: Annotated[
        int,
        Meta(ge=1024, le=_MIB),
        doc("Largest request header field, in bytes; its name may or may not count."),
    ] = 8190
    max_query_bytes: Annotated[int, Meta(ge=1024, le=_MIB), doc("Longest path with query, in bytes.")] = 8190
    max_event_bytes: Annotated[
        int, Meta(ge=1024, le=MAX_EVENT_BYTES), doc("Largest event, and largest output, in bytes of JSON.")
    ] = 10 * _MIB
    max_json_depth: Annotated[int, Meta(ge=1, le=500), doc("Deepest nesting of JSON in requests.")] = 100
    max_events_per_run: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000),
        doc("Events an agent may emit in one run before the run is stopped."),
    ] = 1_000_000
    max_stored_bytes: Annotated[
        int,
        Meta(ge=_MIB, le=1024 * 1024 * _MIB),
        doc(
            "Bytes of runs and events with the memory backend; of one run's events in Redis, a quarter of it."
        ),
    ] = 256 * _MIB
    max_connections_per_caller: Annotated[
        int, Meta(ge=1, le=1_000_000), doc("Concurrent requests and streams of one caller, in one process.")
    ] = 10_000
    body_timeout: Annotated[int, Meta(ge=1, le=3600), doc("Seconds for a request body to arrive.")] = 60
    idle_timeout: Annotated[int, Meta(ge=1, le=3600), doc("Seconds until an idle connection is closed.")] = 75


class SafetySpec(Struct, frozen=True):
    redact_patterns: Annotated[
        list[NonEmpty], doc("Regular expressions; their matches in events and outputs are masked.")
    ] = []
    max_output_chars: Annotated[
        Annotated[int, Meta(ge=1)] | None, doc("Length to which each text of the output is truncated.")
    ] = None
    halt_on_violation: Annotated[bool, doc("Fail the run instead of masking or truncating.")] = False
    block_prompt_injection: Annotated[bool, doc("Reject requests with known injection phrasings.")] = True


class ToolsSpec(Struct, frozen=True):
    allowed: Annotated[list[NonEmpty], doc("Tools the agent may call.")] = []
    deny_by_default: Annotated[bool, doc("Deny every tool that is not listed in `allowed`.")] = True


class PoliciesSpec(Struct, frozen=True):
    safety: Annotated[SafetySpec | None, doc("Rules for the text of requests, events and outputs.")] = None
    tools: Annotated[ToolsSpec | None, doc("Rules for the agent's tool calls.")] = None
