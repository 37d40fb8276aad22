"""The aiohttp application: routes, the middleware around each request, and the service behind them."""

import logging
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from aiohttp import hdrs, web

from dockrion.dockfile import Loaded
from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.web.access import CALLER, RUN_ID, loggable_path
from dockrion.web.aiohttp_internals import send_continue
from dockrion.web.cors import enable_cors, options_response
from dockrion.web.docs import DESCRIPTION, Description
from dockrion.web.limits import add_rate_limit_headers
from dockrion.web.peers import CLIENT, FORWARDED_PREFIX, peer_address
from dockrion.web.reload_mode import ReloadMode
from dockrion.web.request_ids import add_request_id, identify
from dockrion.web.responses import ERROR_RESPONSES, SERVER, Handler, respond_to_error
from dockrion.web.root_path import RootPath, check_root_path
from dockrion.web.routes import Route, error_responses, exposed_headers, routes
from dockrion.web.service import SERVICE, Role, Service
from dockrion.web.trailing_slash import TrailingSlashes, redirect_response
from dockrion.web.urls import PREFIXES, Prefixes, route_pattern

_logger = logging.getLogger("dockrion.requests")
_PARAMETER = re.compile(r"{(\w+)}")  # which aiohttp would not let have braces
_CLIENT_CLOSED_REQUEST = 499  # as nginx logs it; nobody receives this status


def create_app(loaded: Loaded, role: Role = "all", reload: ReloadMode | None = None) -> web.Application:
    """Make the application that serves a Dockfile.

    Run it with `handler_cancellation`, so that handlers learn when their client disconnects.

    Args:
        loaded: The Dockfile, validated.
        role: What the process serves.
        reload: What is different because the service is restarted at each change of its files.
    """
    app = web.Application(middlewares=[handle], client_max_size=loaded.dockfile.limits.max_body_bytes)
    if loaded.dockfile.observability.traced:
        app.middlewares.insert(0, end_span)
    all_routes = list(routes(loaded.dockfile, role))
    _add_routes(app.router, all_routes)
    redactor, endpoints = Redactor(loaded.confidential), [route.endpoint for route in all_routes]
    app[DESCRIPTION] = Description(redactor, endpoints)
    app[ERROR_RESPONSES] = error_responses(loaded.dockfile, role)
    enable_cors(app, loaded.dockfile, exposed_headers(loaded.dockfile, role))
    app.router.register_resource(TrailingSlashes(app.router))
    root, behind_proxies = loaded.dockfile.expose.root_path, bool(loaded.dockfile.expose.trusted_proxies)
    app[PREFIXES] = Prefixes(root, behind_proxies)
    check_root_path(root, [route.path for route in all_routes])
    if root:
        app.router.register_resource(RootPath(app.router, root))

    async def serve(app: web.Application) -> AsyncIterator[None]:
        app[SERVICE] = service = Service(loaded, role, reload)
        service.access.rules = {route.handler: route.rule for route in all_routes}
        yield
        await service.aclose()

    app.cleanup_ctx.append(serve)
    app.on_response_prepare.append(_add_headers)
    if loaded.dockfile.auth is not None and loaded.dockfile.auth.rate_limits:
        app.on_response_prepare.append(add_rate_limit_headers)
    if behind_proxies:
        app.on_response_prepare.append(_vary_by_prefix)
    app.on_shutdown.append(_drain)
    return app


def _add_routes(router: web.UrlDispatcher, routes: Iterable[Route]) -> None:
    for route in routes:
        path = _PARAMETER.sub(r"{\1:[^/]+}", route.path)
        if route.method == hdrs.METH_GET:
            allow_head = not route.streams
            router.add_get(path, route.handler, allow_head=allow_head, expect_handler=send_continue)
        else:
            router.add_route(route.method, path, route.handler, expect_handler=send_continue)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER
    add_request_id(response)


async def _vary_by_prefix(_request: web.Request, response: web.StreamResponse) -> None:
    """Tell caches that the URLs in a response are for callers who come by the same prefix."""
    response.headers.add(hdrs.VARY, FORWARDED_PREFIX)


async def _drain(app: web.Application) -> None:
    """End the streams that are still open: they would delay aiohttp's shutdown until its timeout."""
    await app[SERVICE].drain(0)


@web.middleware
async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check, authorize, limit and handle a request, turn exceptions into responses, then log and count it.

    This is one middleware because each one takes memory as long as a stream is open.
    """
    identify(request)
    service = request.app[SERVICE]
    if service.request_spans is not None:
        service.request_spans.begin(request)
    metrics, access, limiter = service.metrics.requests, service.access, service.connection_limiter
    started_at = time.perf_counter()
    response: web.StreamResponse | None = None
    limiter_key: str | None = None
    metrics.active.inc()
    request[CALLER] = None  # until it is authenticated: looking up an absent key is slower
    request[CLIENT] = peer_address(request)
    try:
        if service.proxies is not None:
            service.proxies.identify(request)
        service.cross_origin.check(request)
        if access.protected:
            await access.authorize(request)
        limiter_key = limiter.acquire(request)
        response = options_response(request) or redirect_response(request) or await handler(request)
    except Exception as error:
        response = respond_to_error(request, error)
    finally:
        metrics.active.dec()
        limiter.release(limiter_key)
        _record(request, response, time.perf_counter() - started_at)
    return response


@web.middleware
async def end_span(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the response of a request that has a span whole, and end the span then."""
    status = _CLIENT_CLOSED_REQUEST
    try:
        response = await handler(request)
        if isinstance(response, web.Response):  # others are sent by their handlers
            with suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
                status = response.status
        else:
            status = response.status
    finally:
        spans = request.app[SERVICE].request_spans
        if spans is not None:
            spans.end(request, status)
    return response


def _record(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    """Count and log a request that is over."""
    endpoint = route_pattern(request) or "(none)"
    method = request.method if request.method in hdrs.METH_ALL else "(other)"  # bounds the label's values
    status = _CLIENT_CLOSED_REQUEST if response is None else response.status
    streamed = not isinstance(response, web.Response)
    request.app[SERVICE].metrics.requests.count(method, endpoint, status, seconds, streamed=streamed)
    if _logger.isEnabledFor(logging.INFO):
        caller = request[CALLER]
        log(
            _logger,
            logging.INFO,
            "request",
            method=request.method,
            path=loggable_path(request),
            status=status,
            seconds=round(seconds, 6),
            run_id=request.get(RUN_ID),
            client=request[CLIENT],
            caller=None if caller is None else caller.user_id,
            user_agent=request.headers.get(hdrs.USER_AGENT),
        )
