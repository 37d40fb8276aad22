"""Which of the forms an answer may have the caller likes best (RFC 9110, 12.5.1)."""

import re
from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web

from dockrion.errors import NotAcceptable

_ANY = "*/*"
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


def negotiated(request: web.Request, offered: Sequence[str]) -> str:
    """Return the media type to answer with.

    Args:
        request: What the caller sent; without an `Accept` header everything will do.
        offered: The media types there are, the one to prefer first.

    Raises:
        NotAcceptable: They want none of these.
    """
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    if not accept.strip() or accept == _ANY:
        return offered[0]
    ranges: dict[str, float] = {}
    for name, quality in _ranges(accept):
        ranges[name] = max(quality, ranges.get(name, 0.0))
    best = max(offered, key=lambda media_type: _liking(media_type, ranges))
    if not _liking(best, ranges):
        raise NotAcceptable(f"this is answered as {' or '.join(offered)}; send such an Accept header")
    return best


def _liking(media_type: str, ranges: dict[str, float]) -> float:
    """Return the quality of the most specific range that the media type is in."""
    family = media_type.partition("/")[0] + "/*"
    return ranges.get(media_type, ranges.get(family, ranges.get(_ANY, 0.0)))


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield each media range with its quality. What is malformed is wanted by nobody."""
    for element in accept.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        qualities = [each[2:] for each in parameters if each.startswith("q=")] or ["1"]
        if _QUALITY.fullmatch(qualities[0]):
            yield name, float(qualities[0])
