"""Traces of a service: what its Dockfile and aiohttp know of runs and requests, in the terms of traces."""

from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

from dockrion.dockfile import Dockfile
from dockrion.redaction import Redactor
from dockrion.tracing import conventions
from dockrion.tracing.content import ContentMasks
from dockrion.tracing.provider import Tracing
from dockrion.tracing.request_spans import RequestSpan, RequestTracer
from dockrion.tracing.run_tracer import RunTracer, TracedAgent
from dockrion.web.access import RUN_ID, loggable_path
from dockrion.web.peers import CLIENT, FORWARDED
from dockrion.web.urls import route_pattern

Masks = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_SPAN = web.RequestKey("span", RequestSpan)
_PORT_DIGITS = 5
_UNTRACED = frozenset(["/health", "/ready", "/metrics"])  # asked for every few seconds, by machines


def run_tracer(tracing: Tracing, dockfile: Dockfile, redactor: Redactor, masks: Masks) -> RunTracer:
    """Return what makes the spans of runs.

    Args:
        tracing: Where they go.
        dockfile: Describes the agent.
        redactor: Masks secrets.
        masks: Mask what else is not to be shown, of a payload and of what the agent says.
    """
    agent = dockfile.agent
    described = TracedAgent(
        name=agent.name,
        framework=agent.framework or "",
        description=agent.description,
        version=dockfile.metadata.version,
        remote=agent.mode == "url",
    )
    content_masks = ContentMasks(*masks) if tracing.captures_content else None
    return RunTracer(tracing.tracer, described, redactor, content_masks)


class RequestSpans:
    """Makes a span of each request, but for those of probes.

    Args:
        tracing: Where they go.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracer = RequestTracer(tracing.tracer)

    def begin(self, request: web.Request) -> None:
        """Start the span of the current request. `end` follows, in the same task."""
        route = route_pattern(request)
        if route in _UNTRACED:
            return
        known = request.method in hdrs.METH_ALL
        attributes = {conventions.URL_PATH: loggable_path(request), conventions.URL_SCHEME: request.scheme}
        if user_agent := request.headers.get(hdrs.USER_AGENT):
            attributes[conventions.USER_AGENT] = user_agent
        if not known:
            attributes[conventions.HTTP_METHOD_ORIGINAL] = request.method
        method = request.method if known else conventions.OTHER_METHOD
        request[_SPAN] = self._tracer.start(method, route, attributes)

    def end(self, request: web.Request, status: int) -> None:
        """End its span, if it has one: the response is complete, or cannot be completed."""
        span = request.get(_SPAN)
        if span is None:
            return
        version, forwarded = request.version, request.get(FORWARDED)
        known: dict[str, str | int | None] = {
            conventions.CLIENT_ADDRESS: request[CLIENT],
            conventions.PROTOCOL_VERSION: f"{version.major}.{version.minor}",
            conventions.RUN_ID: request.get(RUN_ID),
        }
        host = request.host
        if forwarded is not None:
            known[conventions.URL_SCHEME] = forwarded.scheme
            host = forwarded.host or host
        name, _, port = host.rpartition(":")
        if port.isdecimal() and len(port) <= _PORT_DIGITS:
            host, known[conventions.SERVER_PORT] = name, int(port)
        known[conventions.SERVER_ADDRESS] = host
        span.end(status, known)
