"""The API description: the OpenAPI and AsyncAPI documents, and the page that shows them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.dockfile import Dockfile
from dockrion.errors import NotFound, Unauthorized
from dockrion.openapi.endpoint import Endpoint
from dockrion.redaction import Redactor
from dockrion.web.responses import encoded_response
from dockrion.web.service import SERVICE
from dockrion.web.trailing_slash import has_trailing_slash, without_slash
from dockrion.web.urls import prefix_of

_MAX_DOCUMENTS = 8  # proxies may name many prefixes
_HERE = Path(__file__).parent
_ASSETS = {"page.css": "page.css", "page.js": "page.js"}
_SWAGGER_UI = {"swagger-ui.css": "swagger_style.css", "swagger-ui.js": "swagger_bundle.js"}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Description:
    """The API description of a service; each document is made when it is first requested below a prefix.

    Args:
        redactor: Masks secrets in the documents.
        endpoints: The endpoints that the service exposes.
    """

    def __init__(self, redactor: Redactor, endpoints: Sequence[Endpoint]) -> None:
        self._redactor = redactor
        self._endpoints = endpoints
        self._made: dict[tuple[str, str], tuple[Dockfile, bytes]] = {}

    def openapi(self, dockfile: Dockfile, prefix: str) -> bytes:
        """Return the endpoints below a prefix, as OpenAPI 3.1."""
        from dockrion.openapi.document import openapi  # noqa: PLC0415  memory: few services are asked

        return self._document(openapi, dockfile, prefix)

    def asyncapi(self, dockfile: Dockfile, prefix: str) -> bytes:
        """Return the streams of events below a prefix, as AsyncAPI 3.0."""
        from dockrion.openapi.asyncapi import asyncapi  # noqa: PLC0415  as above

        return self._document(asyncapi, dockfile, prefix)

    def _document(
        self,
        make: Callable[[Dockfile, Sequence[Endpoint], str], dict[str, Any]],
        dockfile: Dockfile,
        prefix: str,
    ) -> bytes:
        key = make.__name__, prefix
        described, document = self._made.get(key, (None, b""))
        if described is not dockfile:  # it has other schemas once the agent is loaded
            document = msgspec.json.encode(self._redactor.mask_value(make(dockfile, self._endpoints, prefix)))
            if len(self._made) >= _MAX_DOCUMENTS:
                self._made.clear()
            self._made[key] = dockfile, document
        return document


DESCRIPTION = web.AppKey("description", Description)


async def openapi(request: web.Request) -> web.Response:
    document = request.app[DESCRIPTION].openapi(request.app[SERVICE].dockfile, prefix_of(request))
    return encoded_response(document)


async def asyncapi(request: web.Request) -> web.Response:
    document = request.app[DESCRIPTION].asyncapi(request.app[SERVICE].dockfile, prefix_of(request))
    return encoded_response(document)


async def page(request: web.Request) -> web.Response:
    """Return the page; to a browser without credentials too, as 401, where the page asks for them.

    A browser sends no key when it opens a page. The page itself contains nothing about the agent.
    """
    if has_trailing_slash(request):  # the page's links are relative
        return without_slash(request)
    headers = {**_HEADERS, hdrs.VARY: hdrs.ACCEPT}
    access = request.app[SERVICE].access
    try:
        await access.check(request, access.rules[page])
    except Unauthorized as error:
        if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
            raise
        return _page(401, headers | error.headers)
    return _page(200, headers)


async def file(request: web.Request) -> web.StreamResponse:
    """Return one of the page's files, which contain nothing about the agent."""
    path = _files().get(request.match_info["file"])
    if path is None:
        raise NotFound(f"no such path: {request.path}")
    headers = {hdrs.CONTENT_TYPE: _TYPES[path.suffix], hdrs.CACHE_CONTROL: "no-cache"}
    return web.FileResponse(path, headers=_HEADERS | headers)


def _page(status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(text=_html(), status=status, content_type="text/html", headers=headers)


@cache
def _html() -> str:
    return (_HERE / "page.html").read_text()


@cache
def _files() -> Mapping[str, Path]:
    """Return the page's files by name; without Swagger UI the page only links to the documents."""
    files = {name: _HERE / file for name, file in _ASSETS.items()}
    spec = find_spec("offapi")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0])
        files |= {name: folder / file for name, file in _SWAGGER_UI.items()}
    return files
