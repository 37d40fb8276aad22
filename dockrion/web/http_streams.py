"""Streams that are the answer to a plain HTTP request."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol

from aiohttp import HttpVersion11, hdrs, web
from multidict import istr

from dockrion.events import Entry
from dockrion.web.streams import Connection, Framing
from dockrion.wire import ndjson, sse

# Names as they are looked up: of others, each response would keep a copy.
_HEADERS: dict[str, str] = {
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    hdrs.CONNECTION: "keep-alive",
    hdrs.VARY: "Accept",
    istr("X-Accel-Buffering"): "no",  # nginx passes the stream on unbuffered
}


class MediaType(Framing, Protocol):
    """A framing that has a name in HTTP."""

    MEDIA_TYPE: str


MEDIA_TYPES: dict[str, MediaType] = {each.MEDIA_TYPE: each for each in (sse, ndjson)}


class AnsweredStream(Connection):
    """A stream that is an answer's body.

    Args:
        request: The request to answer.
        media_type: How events are framed.
        headers: More headers.

    Attributes:
        response: The answer, begun when a run is carried.
    """

    __slots__ = ("response",)

    def __init__(
        self, request: web.Request, media_type: MediaType, headers: Mapping[str, str] | None = None
    ) -> None:
        self.response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: media_type.MEDIA_TYPE, **_HEADERS, **(headers or {})}
        )
        encode = media_type.frames
        if request.version < HttpVersion11:  # only the connection's end can end the answer
            del self.response.headers[hdrs.CONNECTION]
            self.response.force_close()
        else:
            encode = _chunked(encode)
        super().__init__(request, media_type, encode)

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
