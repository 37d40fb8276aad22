"""Paths with a trailing slash: GET works as without it, other methods are redirected.

Few clients of event streams follow redirects, so GET is answered. A request with a body is redirected, since
its client has a wrong URL and should learn of it.
"""

from aiohttp import hdrs, web

from dockrion.web.aiohttp_internals import match_path

_TOLERANT = (hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS)


class _Match(web.UrlMappingMatchInfo):
    """The match of a path with a trailing slash."""


class TrailingSlashes(web.PlainResource):
    """Matches a path with a trailing slash as the router matches it without.

    Register it last: it is asked only where no other resource matches.

    Args:
        router: The router.
    """

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__("/")  # the prefix of all paths
        self._router = router

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Return the match, or None and the methods that the path without the slash has."""
        path = request.rel_url.raw_path
        if path == "/" or not path.endswith("/") or path.endswith("//"):
            return None, set()
        match = await match_path(self._router, request, path[:-1])
        if match.http_exception is None:
            return _Match(dict(match), match.route), set()
        return None, set(getattr(match.http_exception, "allowed_methods", ()))


def redirect_response(request: web.Request) -> web.Response | None:
    """Return the redirect of a request whose path has a trailing slash, None if it is handled."""
    if not has_trailing_slash(request) or request.method in _TOLERANT:
        return None
    return without_slash(request)


def has_trailing_slash(request: web.Request) -> bool:
    """Return whether a request matches its route only without the slash at the end of its path."""
    return type(request.match_info) is _Match  # isinstance is slow: the base is an abstract class


def without_slash(request: web.Request) -> web.Response:
    """Return a redirect to the path without its trailing slash.

    It is relative to the last part of the path: it stays on this host, and below the prefix of a proxy.
    """
    name = request.rel_url.raw_parts[-2]
    query = request.rel_url.raw_query_string
    location = f"../{name}?{query}" if query else f"../{name}"
    return web.Response(status=308, headers={hdrs.LOCATION: location})
