"""Who may call from another origin (the Fetch standard's CORS protocol).

aiohttp-cors answers preflights and marks the answers of routes; what has no route (404,
405) is marked here.
"""

from collections.abc import Awaitable, Callable, Sequence

import aiohttp_cors
from aiohttp import hdrs, web

from dockrion.dockfile import Dockfile

_EXPOSED = (
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Run-Id",
)
_MAX_AGE_SECONDS = 600
Mark = Callable[[web.Request, web.StreamResponse], Awaitable[object]]


def allow_origins(app: web.Application, dockfile: Dockfile) -> None:
    """Apply the Dockfile's rules to every route of an application, present by now."""
    cors, origins = dockfile.expose.cors, allowed_origins(dockfile)
    methods = cors.methods if cors else ["*"]
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=False,
        expose_headers=_EXPOSED,
        allow_headers="*",
        allow_methods="*" if "*" in methods else methods,
        max_age=_MAX_AGE_SECONDS,
    )
    before = len(app.on_response_prepare)
    setup = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    for resource in list(app.router.resources()):
        setup.add(resource)  # not its routes: those would be allowed whatever the methods say
    theirs = app.on_response_prepare[before:]
    del app.on_response_prepare[before:]
    app.on_response_prepare.append(_mark_answers(frozenset(origins), theirs))


def allowed_origins(dockfile: Dockfile) -> list[str]:
    """Return the origins whose pages may call; `*` is every one."""
    cors = dockfile.expose.cors
    return cors.origins if cors else ["*"]


def _mark_answers(origins: frozenset[str], theirs: Sequence[Mark]) -> Mark:
    """Return what marks an answer; most requests come from no page, and their answers need one header."""

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return
        for each in theirs:
            await each(request, response)
        if request.match_info.http_exception is not None and (origin in origins or "*" in origins):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(_EXPOSED)

    return mark


def plain_options(request: web.Request) -> web.Response | None:
    """Return the answer to an OPTIONS that is no preflight: the methods there are (RFC 9110, 9.3.7)."""
    route = request.match_info.route
    if request.method != hdrs.METH_OPTIONS or hdrs.ORIGIN in request.headers or route.resource is None:
        return None
    methods = sorted({other.method for other in route.resource})
    return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods)})
