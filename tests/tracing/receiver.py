"""A collector: receives spans by OTLP over HTTP, and decodes them with `opentelemetry-proto`."""

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.util._once import Once

from tests.support import wait_until

_KINDS = {number: name.removeprefix("SPAN_KIND_").lower() for name, number in trace_pb2.Span.SpanKind.items()}
_CODES = {
    number: name.removeprefix("STATUS_CODE_").lower() for name, number in trace_pb2.Status.StatusCode.items()
}
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SpanEvent(NamedTuple):
    """An event of a span; its time is in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: dict[str, Any]


class Span(NamedTuple):
    """A span as a collector knows it. Ids are in hexadecimal, times in nanoseconds since the epoch.

    Attributes:
        parent_id: Empty if the trace begins with it.
        kind: `internal`, `server`, `client`, `producer` or `consumer`.
        status: `unset`, `ok` or `error`.
        message: The description of the status.
        links: The trace ids and span ids of other spans.
        resource: The attributes of what has made it.
        scope: The name of the library that has made it.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[SpanEvent]
    status: str
    message: str
    links: list[tuple[str, str]]
    resource: dict[str, Any]
    scope: str


class Collector:
    """Records the spans that it receives, and responds as the test wants.

    Attributes:
        spans: The spans, in the order of arrival.
        bodies: The requests' bodies, uncompressed, for searches in all that was sent.
        requests: The requests, for their headers and paths.
        respond: Makes the response.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self.requests: list[web.Request] = []
        self.respond: Respond = self.accept
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app, host="127.0.0.1")

    @property
    def url(self) -> str:
        """The URL for `observability.tracing.endpoint`."""
        return str(self.server.make_url("/")).rstrip("/")

    async def accept(self, _: web.Request) -> web.StreamResponse:
        return web.Response(content_type="application/x-protobuf")

    async def answer(self, status: int, **headers: str) -> None:
        """Respond with this status from now on."""

        async def respond(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers=headers)

        self.respond = respond

    def named(self, name: str) -> list[Span]:
        """Return the spans of this name."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Span) -> list[Span]:
        """Return the spans whose parent is this one."""
        return [
            span
            for span in self.spans
            if (span.trace_id, span.parent_id) == (parent.trace_id, parent.span_id)
        ]

    async def span(self, name: str) -> Span:
        """Wait for a span of this name, and return it; there must be one only."""
        await wait_until(lambda: self.named(name))
        (span,) = self.named(name)
        return span

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.requests.append(request)
        response = await self.respond(request)
        if response.status == web.HTTPOk.status_code:
            self.bodies.append(body)
            self.spans += decode(body)
        return response


def decode(body: bytes) -> Iterator[Span]:
    """Yield the spans of a request's body."""
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, resource, scope_spans.scope.name)


def _span(span: trace_pb2.Span, resource: dict[str, Any], scope: str) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        kind=_KINDS[span.kind],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=[
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ],
        status=_CODES[span.status.code],
        message=span.status.message,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        resource=resource,
        scope=scope,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector."""
    collector = Collector()
    await collector.server.start_server()
    try:
        yield collector
    finally:
        await collector.server.close()


@contextmanager
def own_tracer_provider() -> Iterator[None]:
    """Let the services of a test set the global tracer provider, of which a process has only one."""
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    try:
        yield
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before
