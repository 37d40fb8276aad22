"""The application: routes, middlewares, and the service behind them."""

import logging
import time
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, hdrs, web

from dockrion.dockfile import Dockfile, Loaded
from dockrion.logs import log
from dockrion.web import info, ingest, invoke, runs
from dockrion.web.answers import Handler, failure_of
from dockrion.web.cors import allow_origins, plain_options
from dockrion.web.service import RUN_ID, SERVICE, Service

_logger = logging.getLogger("dockrion.requests")
_ALWAYS_ANSWERED = ("/health", "/ready")
_CLIENT_LEFT = 499  # as nginx logs it; nobody receives this status


def create_app(loaded: Loaded) -> web.Application:
    """Make the application that serves a Dockfile.

    Run it with `handler_cancellation`, so that a caller who leaves is noticed.

    Args:
        loaded: The Dockfile, checked.
    """
    app = web.Application(
        middlewares=[answered, counted],
        client_max_size=loaded.dockfile.limits.max_body_bytes,
    )
    _add_routes(app.router, loaded.dockfile)
    allow_origins(app, loaded.dockfile)

    async def serve(app: web.Application) -> AsyncIterator[None]:
        app[SERVICE] = service = Service(loaded)
        yield
        await service.aclose()

    app.cleanup_ctx.append(serve)
    app.on_response_prepare.append(_hide_versions)
    app.on_shutdown.append(_end_streams)
    return app


def _add_routes(router: web.UrlDispatcher, dockfile: Dockfile) -> None:
    expose, streaming = dockfile.expose, dockfile.streaming
    if expose.rest:
        router.add_get("/", info.page, expect_handler=_expect)
        router.add_get("/health", info.health, expect_handler=_expect)
        router.add_get("/ready", info.ready, expect_handler=_expect)
        router.add_get("/metrics", info.metrics, expect_handler=_expect)
        router.add_get("/schema", info.schema, expect_handler=_expect)
        router.add_get("/info", info.info, expect_handler=_expect)
        router.add_post("/invoke", invoke.invoke, expect_handler=_expect)
    if expose.streaming == "sse":
        router.add_post("/invoke/stream", invoke.invoke_stream)
    if streaming.async_runs:
        router.add_post("/runs", runs.create, expect_handler=_expect)
        router.add_get("/runs", runs.recent, expect_handler=_expect)
        router.add_get("/runs/{run_id}", runs.get, expect_handler=_expect)
        router.add_delete("/runs/{run_id}", runs.cancel, expect_handler=_expect)
    if streaming.async_runs and expose.streaming == "sse":
        router.add_get("/runs/{run_id}/events", runs.events, allow_head=False, expect_handler=_expect)
    if streaming.ingest.enabled:
        router.add_post("/runs/{run_id}/events", ingest.push, expect_handler=_expect)


async def _expect(request: web.Request) -> None:
    """Invite the body. Other expectations may be ignored (RFC 9110, 10.1.1)."""
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer proper has not begun


async def _hide_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = "dockrion"


async def _end_streams(app: web.Application) -> None:
    """End what still streams; open connections would hold the server's end."""
    await app[SERVICE].drain(0)


@web.middleware
async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, failures too, and log and count it once, when it is over.

    One middleware for all of that: each takes memory while a stream is open.
    """
    metrics = request.app[SERVICE].metrics
    began = time.perf_counter()
    response: web.StreamResponse | None = None
    metrics.active_requests.inc()
    try:
        response = plain_options(request) or await handler(request)
    except Exception as error:
        response = failure_of(error, request)
    finally:
        metrics.active_requests.dec()
        _note(request, response, time.perf_counter() - began)
    return response


def _note(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "(none)"
    method = request.method if request.method in hdrs.METH_ALL else "(other)"  # a series each
    status = _CLIENT_LEFT if response is None else response.status
    streamed = response is None or response.content_type == "text/event-stream"
    request.app[SERVICE].metrics.count_request(method, route, status, None if streamed else seconds)
    if _logger.isEnabledFor(logging.INFO):
        log(
            _logger,
            logging.INFO,
            "request",
            method=request.method,
            path=request.path,
            status=status,
            seconds=round(seconds, 6),
            run_id=request.get(RUN_ID),
            client=request.remote,
            user_agent=request.headers.get(hdrs.USER_AGENT),
        )


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bound what one caller has at work. Who asks whether the service lives is always answered."""
    if request.path in _ALWAYS_ANSWERED:
        return await handler(request)
    with request.app[SERVICE].connections.counted(request):
        return await handler(request)
