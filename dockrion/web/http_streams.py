"""Streams in the body of an HTTP response: SSE and NDJSON."""

from collections.abc import Mapping

from aiohttp import HttpVersion11, hdrs, web

from dockrion.ids import INCARNATION_HEADER
from dockrion.web.aiohttp_internals import chunked, shared_headers
from dockrion.web.streams import Connection
from dockrion.wire import HttpFraming, ndjson, sse

_HEADERS = shared_headers(
    {
        hdrs.CACHE_CONTROL: "no-cache, no-transform",
        hdrs.CONNECTION: "keep-alive",
        hdrs.VARY: "Accept",
        "X-Accel-Buffering": "no",  # nginx sends the stream on without buffering
    }
)

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
            encode = chunked(encode)
        super().__init__(request, framing, encode)

    async def _open(self, incarnation: str) -> None:
        if self._service.dockfile.streaming.async_runs:  # the reader can resume
            self.response.headers[INCARNATION_HEADER] = incarnation
        await self.response.prepare(self.request)

    async def _write(self, piece: bytes | memoryview) -> None:
        await self.response.write(piece)
