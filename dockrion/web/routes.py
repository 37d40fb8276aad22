"""The table of routes: path, handler and access rule of each."""

from collections.abc import Iterator

import msgspec
from aiohttp import hdrs

from dockrion.dockfile import Dockfile
from dockrion.dockfile.auth_structs import PublicEndpoints
from dockrion.openapi.endpoint import Endpoint
from dockrion.web import answers, docs, info, invoke, page, runs
from dockrion.web.access import (
    AUTHENTICATED,
    INVOKE,
    PUBLIC,
    PUSH_EVENTS,
    READ_DOCS,
    READ_DOCS_PAGE,
    READ_EVENTS,
    READ_RUNS,
    RESPOND,
    VIEW_METRICS,
    AccessRule,
)
from dockrion.web.responses import ErrorResponse, Handler
from dockrion.web.service import Role


class Route(msgspec.Struct, frozen=True):
    """One method of one path.

    Attributes:
        method: The HTTP method; GET also serves HEAD, unless the response is a stream.
        path: The path's pattern.
        handler: Handles the request.
        rule: Who may use the route.
        streams: Whether the response is a stream.
    """

    method: str
    path: str
    handler: Handler
    rule: AccessRule
    streams: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """What the API description needs of the route."""
        rule = self.rule
        return Endpoint(
            self.method,
            self.path,
            rule.permissions,
            rule.public,
            rule.accepts_run_token,
            rule.accepts_ingest_token,
        )


def routes(dockfile: Dockfile, role: Role = "all") -> Iterator[Route]:
    """Yield the routes that a process serves.

    Args:
        dockfile: Says what is exposed; a worker has its monitoring endpoints in any case.
        role: What the process serves.
    """
    expose, streaming = dockfile.expose, dockfile.streaming
    public = () if dockfile.auth is None else dockfile.auth.public

    def unless_public(name: PublicEndpoints, rule: AccessRule) -> AccessRule:
        return PUBLIC if name in public else rule

    monitoring = (
        Route(hdrs.METH_GET, "/health", info.health, PUBLIC),
        Route(hdrs.METH_GET, "/ready", info.ready, PUBLIC),
        Route(hdrs.METH_GET, "/metrics", info.metrics, unless_public("metrics", VIEW_METRICS)),
    )
    if role == "worker":
        yield from monitoring
        return
    streamed = expose.streaming != "none"
    if expose.rest:
        yield Route(hdrs.METH_GET, "/", page.index, PUBLIC)
        yield Route(hdrs.METH_GET, "/assets/{file}", page.asset, PUBLIC)
        yield Route(hdrs.METH_GET, "/assets/{folder}/{file}", page.asset, PUBLIC)
        yield from monitoring
        yield Route(hdrs.METH_GET, "/schema", info.schema, unless_public("schema", READ_DOCS))
        yield Route(hdrs.METH_GET, "/openapi.json", docs.openapi, unless_public("docs", READ_DOCS))
        yield Route(hdrs.METH_GET, "/asyncapi.json", docs.asyncapi, unless_public("docs", READ_DOCS))
        yield Route(hdrs.METH_GET, "/docs", docs.page, unless_public("docs", READ_DOCS_PAGE))
        yield Route(hdrs.METH_GET, "/docs/{file}", docs.file, PUBLIC)
        yield Route(hdrs.METH_GET, "/info", info.info, unless_public("info", AUTHENTICATED))
        yield Route(hdrs.METH_POST, "/invoke", invoke.invoke, INVOKE)
    if streamed:
        yield Route(hdrs.METH_POST, "/invoke/stream", invoke.invoke_stream, INVOKE, streams=True)
    if streaming.async_runs:
        yield Route(hdrs.METH_POST, "/runs", runs.create, INVOKE)
        yield Route(hdrs.METH_GET, "/runs", runs.recent, READ_RUNS)
        yield Route(hdrs.METH_GET, "/runs/{run_id}", runs.get, READ_RUNS)
        yield Route(hdrs.METH_DELETE, "/runs/{run_id}", runs.cancel, INVOKE)
        yield Route(hdrs.METH_POST, "/runs/{run_id}/input", answers.respond, RESPOND)
    if streaming.async_runs and streamed:
        yield Route(hdrs.METH_GET, "/runs/{run_id}/events", runs.events, READ_EVENTS, streams=True)
        if dockfile.protected:
            yield Route(hdrs.METH_POST, "/runs/{run_id}/token", runs.renew_token, READ_RUNS)
    if expose.streaming == "websocket":
        from dockrion.web import websocket  # noqa: PLC0415  memory

        yield Route(hdrs.METH_GET, "/invoke/ws", websocket.invoke, INVOKE, streams=True)
        if streaming.async_runs:
            yield Route(hdrs.METH_GET, "/runs/{run_id}/ws", websocket.watch, READ_EVENTS, streams=True)
    if expose.protocols:
        from dockrion.web.protocols import protocol_routes  # noqa: PLC0415  memory

        yield from protocol_routes(expose.protocols)
    if streaming.ingest.enabled:
        from dockrion.web import ingest  # noqa: PLC0415  memory

        yield Route(hdrs.METH_POST, "/runs/{run_id}/events", ingest.push, PUSH_EVENTS)
        yield Route(hdrs.METH_GET, "/runs/{run_id}/input/{request_id}", ingest.fetch_answer, PUSH_EVENTS)
        if dockfile.agent.mode == "url":
            path = "/runs/{run_id}/input/{push_token}/{request_id}"
            yield Route(hdrs.METH_GET, path, ingest.fetch_answer_at_url, PUBLIC)
            yield Route(hdrs.METH_POST, "/runs/{run_id}/events/{push_token}", ingest.push_to_url, PUBLIC)


def error_responses(dockfile: Dockfile, role: Role = "all") -> dict[str, ErrorResponse]:
    """Return how errors are reported where it is not the service's own way, by the prefix of the paths."""
    if role == "worker" or not dockfile.expose.protocols:
        return {}
    from dockrion.web.protocols import protocol_error_responses  # noqa: PLC0415  memory

    return protocol_error_responses(dockfile.expose.protocols)


def exposed_headers(dockfile: Dockfile, role: Role = "all") -> Iterator[str]:
    """Yield the response headers of protocols that pages of other origins may read."""
    if role != "worker" and dockfile.expose.protocols:
        from dockrion.web.protocols import protocol_exposed_headers  # noqa: PLC0415  memory

        yield from protocol_exposed_headers(dockfile.expose.protocols)
