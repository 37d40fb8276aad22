"""The application: routes, middlewares, and the service behind them."""

import logging
import time
from collections.abc import AsyncIterator, Iterable

from aiohttp import HttpVersion11, hdrs, web

from dockrion.dockfile import Loaded
from dockrion.logs import log
from dockrion.web.access import CALLER
from dockrion.web.cors import allow_origins, plain_options
from dockrion.web.docs import DESCRIPTION, Description
from dockrion.web.rate_limits import tell_allowance
from dockrion.web.responses import Handler, error_answer, failure_of
from dockrion.web.routes import Route, routes
from dockrion.web.service import RUN_ID, SERVICE, Service

_logger = logging.getLogger("dockrion.requests")
_CLIENT_LEFT = 499  # as nginx logs it; nobody receives this status


def create_app(loaded: Loaded) -> web.Application:
    """Make the application that serves a Dockfile.

    Run it with `handler_cancellation`, so that a caller who leaves is noticed.

    Args:
        loaded: The Dockfile, checked.
    """
    app = web.Application(middlewares=[answered], client_max_size=loaded.dockfile.limits.max_body_bytes)
    all_routes = list(routes(loaded.dockfile))
    _add_routes(app.router, all_routes)
    app[DESCRIPTION] = Description(loaded, [route.endpoint for route in all_routes])
    allow_origins(app, loaded.dockfile)

    async def serve(app: web.Application) -> AsyncIterator[None]:
        app[SERVICE] = service = Service(loaded)
        service.access.rules = {route.handler: route.rule for route in all_routes}
        yield
        await service.aclose()

    app.cleanup_ctx.append(serve)
    app.on_response_prepare.append(_hide_versions)
    if loaded.dockfile.auth is not None and loaded.dockfile.auth.rate_limits:
        app.on_response_prepare.append(tell_allowance)
    app.on_shutdown.append(_end_streams)
    return app


def _add_routes(router: web.UrlDispatcher, routes: Iterable[Route]) -> None:
    for route in routes:
        if route.method == hdrs.METH_GET:
            router.add_get(route.path, route.handler, allow_head=not route.streams, expect_handler=_expect)
        else:
            router.add_route(route.method, route.path, route.handler, expect_handler=_expect)


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
    service = request.app[SERVICE]
    metrics, access, connections = service.metrics, service.access, service.connections
    began = time.perf_counter()
    response: web.StreamResponse | None = None
    counted: str | None = None
    metrics.active_requests.inc()
    request[CALLER] = None  # until it is known: to look for what is not there takes longer
    try:
        if access.protected:
            await access.admit(request)
        counted = connections.enter(request)
        response = plain_options(request) or await handler(request)
    except Exception as error:
        response = error_answer(failure_of(error, request), service.redactor)
    finally:
        metrics.active_requests.dec()
        connections.leave(counted)
        _note(request, response, time.perf_counter() - began)
    return response


def _note(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "(none)"
    method = request.method if request.method in hdrs.METH_ALL else "(other)"  # a series each
    status = _CLIENT_LEFT if response is None else response.status
    streamed = not isinstance(response, web.Response)
    request.app[SERVICE].metrics.count_request(method, route, status, None if streamed else seconds)
    if _logger.isEnabledFor(logging.INFO):
        caller = request[CALLER]
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
            caller=None if caller is None else caller.user_id,
            user_agent=request.headers.get(hdrs.USER_AGENT),
        )
