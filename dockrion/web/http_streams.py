"""Streams that are the answer to a plain HTTP request."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from aiohttp import HttpVersion11, hdrs, web
from multidict import istr

from dockrion.events import Entry
from dockrion.web.streams import Connection
from dockrion.wire import HttpFraming, ndjson, sse

# Names as they are looked up: of others, each response would keep a copy.
_HEADERS: dict[str, str] = {
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    hdrs.CONNECTION: "keep-alive",
    hdrs.VARY: "Accept",
    istr("X-Accel-Buffering"): "no",  # nginx passes the stream on unbuffered
}


MEDIA_TYPES: dict[str, HttpFraming] = {each.MEDIA_TYPE: each for each in (sse, ndjson)}


class HttpStream(Connection):
    """A stream that is an answer's body.

    Args:
        request: The request to answer.
        framing: The format of the body.
        headers: More headers.

    Attributes:
        response: The answer, begun when a run is carried.
    """

    __slots__ = ("response",)

    def __init__(
        self, request: web.Request, framing: HttpFraming, headers: Mapping[str, str] | None = None
    ) -> None:
        self.response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: framing.MEDIA_TYPE, **_HEADERS, **(headers or {})}
        )
        encode = framing.encode_events
        if request.version < HttpVersion11:  # only the connection's end can end the answer
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
def _chunked(frames: Callable[[Sequence[Entry]], bytes]) -> Callable[[Sequence[Entry]], bytes]:
    """Return what frames events as one chunk (RFC 9112, 7.1), the same for all readers."""

    def chunk(entries: Sequence[Entry]) -> bytes:
        data = frames(entries)
        return b"%x\r\n%s\r\n" % (len(data), data)

    return chunk
