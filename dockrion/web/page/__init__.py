"""The page at `/`, on which people try the agent out in a browser.

Its files are the same for every service; what it shows it requests from the API like any other client.
"""

import hashlib
from functools import cache, lru_cache
from html import escape
from pathlib import Path

import msgspec
from aiohttp import ETag, hdrs, web

from dockrion.errors import NotFound
from dockrion.web.responses import is_known
from dockrion.web.urls import prefix_of

_FOLDER = Path(__file__).parent
_INDEX = _FOLDER / "index.html"
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".md": "text/markdown",
}
_GUIDE = _FOLDER.parents[1] / "guide"
_ASSETS = {
    path.relative_to(_FOLDER).as_posix(): path
    for path in _FOLDER.rglob("*.*")
    if path.suffix in (".js", ".css", ".svg")
} | {f"guide/{path.name}": path for path in _GUIDE.glob("*.md")}
_SCRIPT = b'<script type="module"'
_HEAD = b"<head>\n"
_LOADED_LATER = "guide/"
_MODULES = "".join(  # requested at once, not one level of imports after the other
    f'<link rel="modulepreload" href="assets/{name}">\n'
    for name in sorted(_ASSETS)
    if name.endswith(".js") and not name.startswith(_LOADED_LATER)
)
_POLICY = {  # W3C Content Security Policy Level 3, and Trusted Types
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # no text is parsed as HTML, not even by mistake
}


def _csp(policy: dict[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in policy.items())


_HEADERS = {
    "Content-Security-Policy": _csp(_POLICY),
    "Cache-Control": "no-cache",  # cached, but revalidated: an update is seen at once
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _File(msgspec.Struct, frozen=True):
    content: bytes
    etag: ETag


async def index(request: web.Request) -> web.Response:
    prefix = prefix_of(request)
    response = _response(request, _index(prefix), "text/html")
    if prefix:
        response.headers["Content-Security-Policy"] = _csp(_POLICY | {"base-uri": "'self'"})
    return response


async def asset(request: web.Request) -> web.Response:
    """Return one of the page's files; a name that is not in the table is not used as a path."""
    name = "/".join(request.match_info.values())
    path = _ASSETS.get(name)
    if path is None:
        raise NotFound(f"no such path: {request.path}")
    return _response(request, _file(path), _TYPES[path.suffix])


def _response(request: web.Request, file: _File, content_type: str) -> web.Response:
    response = web.Response(headers=_HEADERS)
    response.etag = file.etag
    if is_known(request, file.etag):
        response.set_status(304)
        return response
    response.body = file.content
    response.headers[hdrs.CONTENT_TYPE] = f"{content_type}; charset=utf-8"
    return response


@lru_cache(maxsize=8)
def _index(prefix: str) -> _File:
    """Return the page; its URLs begin with the prefix, as the browser's URL may lack the slash at its end."""
    content = _INDEX.read_bytes().replace(_SCRIPT, _MODULES.encode() + _SCRIPT)
    if prefix:
        content = content.replace(_HEAD, _HEAD + f'<base href="{escape(prefix)}/">\n'.encode())
    return _with_etag(content)


@cache
def _file(path: Path) -> _File:
    return _with_etag(path.read_bytes())


def _with_etag(content: bytes) -> _File:
    return _File(content, ETag(hashlib.sha256(content).hexdigest()[:32]))
