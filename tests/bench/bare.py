"""A bare aiohttp server that writes prepared bytes, the upper bound: `python -m tests.bench.bare PORT`."""

import asyncio
import sys
import time
from datetime import UTC, datetime

from aiohttp import web

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_FRAME = (
    b'id: %d\nevent: token\ndata: {"id":"01a2064a-57bb-7adf-9367-cc7530816384:%d","type":"token",'
    b'"run_id":"01a2064a-57bb-7adf-9367-cc7530816384","sequence":%d,"timestamp":"%s",'
    b'"content":"token %d","finish_reason":null}\n\n'
)
_READERS = 100


def frame(number: int, timestamp: bytes = b"2026-11-23T02:44:25.154271Z") -> bytes:
    return _FRAME % (number, number, number, timestamp, number)


FRAMES = [frame(number) for number in range(1, 20_001)]


async def stream(request: web.Request) -> web.StreamResponse:
    """Write the requested number of events, one by one."""
    count = int(request.query["events"])
    await request.read()
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    for each in FRAMES[:count]:
        await response.write(each)
    return response


class _Paced:
    """A stream of events at a fixed rate, which starts when all readers are connected."""

    def __init__(self) -> None:
        self._readers: list[web.StreamResponse] = []
        self._ended = asyncio.Event()

    async def read(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        ended, self._readers = self._ended, [*self._readers, response]
        if len(self._readers) == int(request.query["readers"]):
            readers, self._readers, self._ended = self._readers, [], asyncio.Event()
            await _pace(readers, int(request.query["events"]), float(request.query["pause"]))
            ended.set()
        await ended.wait()
        return response


async def _pace(readers: list[web.StreamResponse], count: int, pause: float) -> None:
    started = time.monotonic()
    for number in range(1, count + 1):
        await asyncio.sleep(max(started + number * pause - time.monotonic(), 0))
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
        written = frame(number, now)
        for each in readers:
            await each.write(written)


async def idle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    await response.write(FRAMES[0])
    await asyncio.Event().wait()
    return response


async def post(request: web.Request) -> web.Response:
    payload = await request.json()
    return web.json_response({"success": True, "output": payload, "metadata": {"agent": "bare"}})


def main() -> None:
    app = web.Application()
    paced = _Paced()
    app.router.add_post("/stream", stream)
    app.router.add_get("/stream", stream)
    app.router.add_get("/paced", paced.read)
    app.router.add_get("/idle", idle)
    app.router.add_post("/post", post)
    app.router.add_get("/ready", lambda _request: web.Response())  # type: ignore[arg-type,return-value]
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
