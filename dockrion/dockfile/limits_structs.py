"""The section on what hostile callers and agents may cost (`limits`)."""

from typing import Annotated

from msgspec import Meta

from dockrion.dockfile.declarations import Section, about

_MIB = 1024 * 1024


class LimitsSpec(Section, frozen=True):
    max_body_bytes: Annotated[int, Meta(ge=1, le=1024 * _MIB), about("Bytes of a body, decompressed.")] = (
        10 * _MIB
    )
    max_header_bytes: Annotated[
        int, Meta(ge=1024, le=_MIB), about("Bytes of one header; its name may count or not.")
    ] = 8190
    max_query_bytes: Annotated[int, Meta(ge=1024, le=_MIB), about("Bytes of a path with its query.")] = 8190
    max_event_bytes: Annotated[
        int, Meta(ge=1024, le=100 * _MIB), about("Bytes of one event as JSON, and of an output.")
    ] = 10 * _MIB
    max_json_depth: Annotated[
        int, Meta(ge=1, le=500), about("Arrays and objects inside each other, in what callers send.")
    ] = 100
    max_events_per_run: Annotated[
        int, Meta(ge=1, le=1_000_000_000), about("Events before its end, after which a run is stopped.")
    ] = 1_000_000
    max_connections_per_caller: Annotated[
        int, Meta(ge=1, le=1_000_000), about("Requests and streams of one caller at a time, in one process.")
    ] = 10_000
    body_timeout: Annotated[int, Meta(ge=1, le=3600), about("Seconds in which a body has to arrive.")] = 60
    idle_timeout: Annotated[
        int, Meta(ge=1, le=3600), about("Seconds a connection may be open without a request at work.")
    ] = 75
