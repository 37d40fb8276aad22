"""Which origins may call the service from a browser (the Fetch standard's CORS protocol).

aiohttp-cors answers preflights and adds the headers to responses of routes; responses without
a route (404, 405) get theirs here.
"""

from collections.abc import Iterable

import aiohttp_cors
from aiohttp import hdrs, web

from dockrion.dockfile import Dockfile
from dockrion.dockfile.expose_structs import CorsSpec
from dockrion.ids import INCARNATION_HEADER, REPLAYED_HEADER, REQUEST_ID_HEADER, RUN_ID_HEADER
from dockrion.web.aiohttp_internals import ResponseHook, take_cors_hooks
from dockrion.web.limits import RATE_LIMIT_HEADERS

_EXPOSED = (
    hdrs.LOCATION,
    *RATE_LIMIT_HEADERS,
    hdrs.RETRY_AFTER,
    RUN_ID_HEADER,
    INCARNATION_HEADER,
    REPLAYED_HEADER,
    REQUEST_ID_HEADER,
)
_MAX_AGE_SECONDS = 600


def enable_cors(app: web.Application, dockfile: Dockfile, headers: Iterable[str] = ()) -> None:
    """Apply `expose.cors` to every route that an application has by now.

    Args:
        app: The application.
        dockfile: The Dockfile.
        headers: Response headers that pages may read besides those of the service's own API.
    """
    exposed = (*_EXPOSED, *headers)
    cors = dockfile.expose.cors or CorsSpec()
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=False,
        expose_headers=exposed,
        allow_headers="*",
        allow_methods="*" if "*" in cors.methods else cors.methods,
        max_age=_MAX_AGE_SECONDS,
    )

    def set_up() -> aiohttp_cors.CorsConfig:
        config = aiohttp_cors.setup(app, defaults=dict.fromkeys(cors.origins, options))
        for resource in list(app.router.resources()):
            config.add(resource)  # not its routes: those would be allowed whatever the methods say
        return config

    hooks = take_cors_hooks(app, set_up)
    app.on_response_prepare.append(_add_headers(frozenset(cors.origins), exposed, hooks))


def _add_headers(
    origins: frozenset[str], exposed: tuple[str, ...], hooks: list[ResponseHook]
) -> ResponseHook:
    """Return the response hook: without an `Origin` in the request it adds only `Vary`."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return
        for hook in hooks:
            await hook(request, response)
        if request.match_info.http_exception is not None and (origin in origins or "*" in origins):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(exposed)

    return add_headers


def options_response(request: web.Request) -> web.Response | None:
    """Return the response to an OPTIONS that is not a preflight: the allowed methods (RFC 9110, 9.3.7)."""
    route = request.match_info.route
    if request.method != hdrs.METH_OPTIONS or hdrs.ORIGIN in request.headers or route.resource is None:
        return None
    methods = sorted({other.method for other in route.resource})
    return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods)})
