"""Streams in the body of an HTTP response: SSE and NDJSON."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from aiohttp import HttpVersion11, hdrs, web
from multidict import istr

from dockrion.events import Entry
from dockrion.web.streams import Connection
from dockrion.wire import HttpFraming, ndjson, sse

# Header names as aiohttp interns them: each response would hold a copy of any other.
_HEADERS: dict[str, str] = {
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    hdrs.CONNECTION: "keep-alive",
    hdrs.VARY: "Accept",
    istr("X-Accel-Buffering"): "no",  # for nginx
}
MEDIA_TYPES: dict[str, HttpFraming] = {each.MEDIA_TYPE: each for each in (sse, ndjson)}


class HttpStream(Connection):
    """A stream in the body of a response.

    Args:
        request: The request.
        framing: The format of the body.
        headers: Further headers.

    Attributes:
        response: The response, which `send_run` begins.
    """

    __slots__ = ("response",)

    def __init__(
        self, request: web.Request, framing: HttpFraming, headers: Mapping[str, str] | None = None
    ) -> None:
        self.response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: framing.MEDIA_TYPE, **_HEADERS, **(headers or {})}
        )
        encode = framing.encode_events
        if request.version < HttpVersion11:  # only closing the connection ends the body
            del self.response.headers[hdrs.CONNECTION]
            self.response.force_close()
        else:
            encode = _chunked(encode)
        super().__init__(request, framing, encode)

    async def _open(self) -> None:
        await self.response.prepare(self.request)

    async def _write(self, piece: bytes | memoryview) -> None:
        await self.response.write(piece)


@cache
def _chunked(encode: Callable[[Sequence[Entry]], bytes]) -> Callable[[Sequence[Entry]], bytes]:
    """Return an encoder that wraps events in one chunk (RFC 9112, 7.1).

    aiohttp chunks what goes through the response. `Connection` writes events past it, to encode them
    once for all readers, so this has to be cached too.
    """

    def encode_chunk(entries: Sequence[Entry]) -> bytes:
        data = encode(entries)
        return b"%x\r\n%s\r\n" % (len(data), data)

    return encode_chunk
