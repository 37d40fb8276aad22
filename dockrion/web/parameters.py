"""Query parameters and headers of requests: validation, resume position, content negotiation."""

import re
from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web

from dockrion.errors import InvalidRequest, NotAcceptable
from dockrion.events import MAX_REASON_LENGTH, MAX_SEQUENCE
from dockrion.web.service import SERVICE

_INTEGER = re.compile(r"[0-9]{1,19}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ANY = "*/*"
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


def integer(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Return an integer query parameter.

    Raises:
        InvalidRequest: It is not an integer, or out of range.
    """
    text = request.query.get(name)
    return default if text is None else _integer(f"?{name}=", text, low, high)


def boolean(request: web.Request, name: str) -> bool:
    """Return a boolean query parameter, false by default.

    Raises:
        InvalidRequest: It is neither `true` or `1` nor `false` or `0`.
    """
    text = request.query.get(name, "false")
    if text not in _BOOLEANS:
        raise InvalidRequest(f"?{name}= must be true or false")
    return _BOOLEANS[text]


def flag(request: web.Request, name: str) -> bool:
    """Return a boolean query parameter that is true, too, if it has no value.

    Raises:
        InvalidRequest: As for `boolean`.
    """
    return request.query.get(name) == "" or boolean(request, name)


def choice(request: web.Request, name: str, choices: tuple[str, ...]) -> str | None:
    """Return a query parameter that is one of a few words, None if it is absent.

    Raises:
        InvalidRequest: It is none of the choices.
    """
    text = request.query.get(name)
    if text is not None and text not in choices:
        raise InvalidRequest(f"?{name}= must be one of {', '.join(choices)}")
    return text


def reason(request: web.Request) -> str | None:
    """Return the reason for a cancellation, None if the caller gives none.

    Raises:
        InvalidRequest: It is too long.
    """
    text = request.query.get("reason")
    if text is not None and len(text) > MAX_REASON_LENGTH:
        raise InvalidRequest(f"?reason= must have at most {MAX_REASON_LENGTH} characters")
    return None if text is None else text.encode("utf-8", "replace").decode()


def timeout(request: web.Request) -> int:
    """Return the timeout of an event stream, in seconds.

    Raises:
        InvalidRequest: It is not an integer, or out of range.
    """
    default = request.app[SERVICE].dockfile.streaming.connection.default_timeout
    return integer(request, "timeout", default, 1, 3600)


def position(request: web.Request) -> int:
    """Return the last sequence that the reader has, 0 for none.

    `Last-Event-ID`, which a reconnecting `EventSource` sends (WHATWG HTML, 9.2), wins over
    `?from_sequence=`.

    Raises:
        InvalidRequest: One of them is not a sequence.
    """
    start = integer(request, "from_sequence", 0, 0, MAX_SEQUENCE)
    last_id = request.headers.get("Last-Event-ID", "")
    if last_id:
        return _integer("Last-Event-ID:", last_id, 0, MAX_SEQUENCE)
    return max(start - 1, 0)


def _integer(source: str, text: str, low: int, high: int) -> int:
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        expected = f"from {low} to {high}" if high < MAX_SEQUENCE else f"of at least {low}"
        raise InvalidRequest(f"{source} must be a whole number {expected}")
    return int(text)


def preferred_media_type(request: web.Request, offered: Sequence[str]) -> str:
    """Return the media type that the `Accept` header prefers (RFC 9110, 12.5.1).

    Args:
        request: The request; without an `Accept` header every media type is acceptable.
        offered: The media types that are available, in order of preference.

    Raises:
        NotAcceptable: None of them is acceptable.
    """
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    if not accept.strip() or accept == _ANY:
        return offered[0]
    ranges: dict[str, float] = {}
    for name, quality in _media_ranges(accept):
        ranges[name] = max(quality, ranges.get(name, 0.0))
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if not _quality(best, ranges):
        raise NotAcceptable(f"the response can be {' or '.join(offered)}; send such an Accept header")
    return best


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """Return the quality of the most specific range that includes the media type."""
    family = media_type.partition("/")[0] + "/*"
    return ranges.get(media_type, ranges.get(family, ranges.get(_ANY, 0.0)))


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield each media range with its quality; malformed ones are skipped."""
    for element in accept.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        qualities = [each[2:] for each in parameters if each.startswith("q=")] or ["1"]
        if _QUALITY.fullmatch(qualities[0]):
            yield name, float(qualities[0])
