"""Every route: where it is, what answers there, and who may ask."""

from collections.abc import Iterator

import msgspec
from aiohttp import hdrs

from dockrion.dockfile import Dockfile
from dockrion.openapi.endpoint import Endpoint
from dockrion.web import docs, info, invoke, page, runs
from dockrion.web.access import (
    INVOKE,
    KNOWN,
    OPEN,
    PRODUCE,
    READ_DOCS,
    READ_DOCS_PAGE,
    READ_RUN,
    VIEW_METRICS,
    Rule,
)
from dockrion.web.responses import Handler


class Route(msgspec.Struct, frozen=True):
    """One method of one path.

    Attributes:
        method: The HTTP method; GET answers HEAD, too, where it is no stream.
        path: The path's pattern.
        handler: What answers.
        rule: Who may ask.
        streams: Whether the answer is a stream.
    """

    method: str
    path: str
    handler: Handler
    rule: Rule
    streams: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """What a description has to know of it."""
        rule = self.rule
        return Endpoint(
            self.method,
            self.path,
            rule.permission,
            rule.asks_nobody,
            rule.takes_run_token,
            rule.takes_producers,
        )


def routes(dockfile: Dockfile) -> Iterator[Route]:
    """Yield the routes that there are with a Dockfile."""
    expose, streaming = dockfile.expose, dockfile.streaming
    sse = expose.streaming != "none"
    if expose.rest:
        yield Route(hdrs.METH_GET, "/", page.index, OPEN)
        yield Route(hdrs.METH_GET, "/assets/{file}", page.asset, OPEN)
        yield Route(hdrs.METH_GET, "/health", info.health, OPEN)
        yield Route(hdrs.METH_GET, "/ready", info.ready, OPEN)
        yield Route(hdrs.METH_GET, "/metrics", info.metrics, VIEW_METRICS)
        yield Route(hdrs.METH_GET, "/schema", info.schema, READ_DOCS)
        yield Route(hdrs.METH_GET, "/openapi.json", docs.openapi, READ_DOCS)
        yield Route(hdrs.METH_GET, "/asyncapi.json", docs.asyncapi, READ_DOCS)
        yield Route(hdrs.METH_GET, "/docs", docs.page, READ_DOCS_PAGE)
        yield Route(hdrs.METH_GET, "/docs/{file}", docs.file, OPEN)
        yield Route(hdrs.METH_GET, "/info", info.info, KNOWN)
        yield Route(hdrs.METH_POST, "/invoke", invoke.invoke, INVOKE)
    if sse:
        yield Route(hdrs.METH_POST, "/invoke/stream", invoke.invoke_stream, INVOKE, streams=True)
    if streaming.async_runs:
        yield Route(hdrs.METH_POST, "/runs", runs.create, INVOKE)
        yield Route(hdrs.METH_GET, "/runs", runs.recent, INVOKE)
        yield Route(hdrs.METH_GET, "/runs/{run_id}", runs.get, INVOKE)
        yield Route(hdrs.METH_DELETE, "/runs/{run_id}", runs.cancel, INVOKE)
    if streaming.async_runs and sse:
        yield Route(hdrs.METH_GET, "/runs/{run_id}/events", runs.events, READ_RUN, streams=True)
        if dockfile.protected:
            yield Route(hdrs.METH_POST, "/runs/{run_id}/token", runs.renew_token, INVOKE)
    if expose.streaming == "websocket":
        from dockrion.web import websockets  # noqa: PLC0415  few use it, and all would give it memory

        yield Route(hdrs.METH_GET, "/invoke/ws", websockets.invoke, INVOKE, streams=True)
        if streaming.async_runs:
            yield Route(hdrs.METH_GET, "/runs/{run_id}/ws", websockets.watch, READ_RUN, streams=True)
    if streaming.ingest.enabled:
        from dockrion.web import ingest  # noqa: PLC0415  as above

        yield Route(hdrs.METH_POST, "/runs/{run_id}/events", ingest.push, PRODUCE)
