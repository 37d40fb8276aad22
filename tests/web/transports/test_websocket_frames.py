"""WebSocket frames: fragments, floods, malformed frames, and silent peers."""

import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.web.websocket import Socket
from tests.conftest import Serve
from tests.loop_clock import advance, advance_until
from tests.support import Served, sequences, wait_until
from tests.web.helpers import Waits
from tests.web.test_slow_readers import KEEP_ALL, MAX_BUFFERED, Drip, Flood, buffered
from tests.web.transports.readers import LINES, WEBSOCKET
from tests.web.wire import Wire, request, shrink_buffers, silent, wire

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
LAST = 0x80
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
}


def frame(first: int, data: bytes = b"") -> bytes:
    """Return a frame as clients send it: masked, here with zeros."""
    short = first & CLOSE or len(data) <= 125
    size = struct.pack("!B", 0x80 | len(data)) if short else struct.pack("!BH", 0x80 | 126, len(data))
    return bytes((first,)) + size + b"\0\0\0\0" + data


class Frames:
    """A raw connection that has been upgraded."""

    def __init__(self, connection: Wire) -> None:
        self.wire = connection

    async def send(self, *frames: bytes) -> None:
        await self.wire.send(b"".join(frames))

    async def next(self) -> tuple[int, bytes]:
        first, size = await self.wire.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.wire.reader.readexactly(2))
        return first & 0xF, await self.wire.reader.readexactly(size)

    async def until(self, opcode: int) -> bytes:
        while True:
            got, data = await self.next()
            if got == opcode:
                return data

    async def close_code(self) -> int:
        return int.from_bytes((await self.until(CLOSE))[:2])


@asynccontextmanager
async def upgraded(served: Served, path: str = "/invoke/ws") -> AsyncIterator[Frames]:
    async with wire(served) as connection:
        await connection.ask("GET", path, UPGRADE)
        status, headers = await connection.head()
        assert status.startswith("HTTP/1.1 101 ")
        assert headers["server"] == "dockrion"
        assert "sec-websocket-extensions" not in headers
        yield Frames(connection)


async def test_payload_may_arrive_in_fragments_with_pings_between_them(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    agent.go.set()
    async with upgraded(served) as frames:
        await frames.send(frame(TEXT, b'{"te'), frame(LAST | PING, b"1"), frame(0, b'xt":"\xc3'))
        assert await frames.until(PONG) == b"1"
        await frames.send(frame(LAST | PING), frame(LAST, b'\xa4"}'))
        assert await frames.close_code() == 1000
    assert agent.payloads == [{"text": "ä"}]


MALFORMED: dict[str, tuple[bytes, int]] = {
    "invalid UTF-8": (frame(LAST | TEXT, b'"\xff"'), 1007),
    "half a character": (frame(LAST | TEXT, b'"\xc3'), 1007),
    "too big": (frame(LAST | TEXT, b"x" * 1025), 1009),
    "too big in fragments": (frame(TEXT, b"x" * 1000) + frame(LAST, b"x" * 1000), 1009),
    "too big by its length": (
        bytes((LAST | TEXT, 0x80 | 127)) + b"\x7f" + b"\xff" * 7 + b"\0" * 4,
        1009,
    ),
    "binary": (frame(LAST | BINARY, b"{}"), 1003),
    "a reserved bit": (frame(LAST | 0x40 | TEXT, b"{}"), 1002),
    "an unknown opcode": (frame(LAST | 0x3, b""), 1002),
    "a long ping": (frame(LAST | PING, b"x" * 126), 1002),
    "a ping in fragments": (frame(PING, b""), 1002),
    "a continuation of nothing": (frame(LAST, b"{}"), 1002),
    "a bad close": (frame(LAST | CLOSE, b"\x00"), 1002),
    "a bad close code": (frame(LAST | CLOSE, struct.pack("!H", 1005)), 1002),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("path", ["/invoke/ws", "/runs/r/ws"])
async def test_malformed_frame_closes_with_its_code(serve: Serve, path: str, name: str) -> None:
    data, code = MALFORMED[name]
    served = await serve(agent := Waits(), expose=WEBSOCKET, limits={"max_body_bytes": 1024})
    await served.start(run_id="r")
    async with upgraded(served, path) as frames:
        await frames.send(data)
        assert await frames.close_code() == code
        await frames.send(frame(LAST | CLOSE, struct.pack("!H", code)))
        assert await frames.wire.rest() == b""
    agent.go.set()
    assert (await served.finished("r"))["status"] == "completed"


async def test_payload_of_exactly_the_limit_is_accepted(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET, limits={"max_body_bytes": 1024})
    agent.go.set()
    async with upgraded(served) as frames:
        await frames.send(frame(LAST | TEXT, b'"' + b"x" * 1022 + b'"'))
        assert await frames.close_code() == 1000


async def test_closing_handshake_is_answered(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with upgraded(served, "/runs/r/ws") as frames:
        await frames.send(frame(LAST | CLOSE, struct.pack("!H", 4321)))
        await frames.close_code()
        assert await frames.wire.rest() == b""
    agent.go.set()


async def test_flood_of_pings_is_answered_while_it_is_read(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with upgraded(served, "/runs/r/ws") as frames:
        for number in range(5):
            await frames.send(*[frame(LAST | PING, b"%d" % number)] * 500)
            assert [await frames.until(PONG) for _ in range(500)] == [b"%d" % number] * 500
        agent.go.set()
        assert b'"type":"complete"' in [await frames.until(TEXT) for _ in range(2)][-1]
        assert await frames.close_code() == 1000


async def test_flood_of_pings_whose_pongs_are_not_read_is_closed(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    shrink_buffers(served)
    served.service.write_seconds = 0.3
    await served.start(run_id="r")
    pings = frame(LAST | PING, b"x" * 125) * 20_000
    async with wire(served) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(request("GET", "/runs/r/ws", UPGRADE))
        connection.writer.write(pings)
        await wait_until(lambda: served.service.streams._deadlines)
        assert buffered(served) < MAX_BUFFERED
        await wait_until(lambda: not served.service.streams._deadlines)
        connection.writer.transport.abort()
    agent.go.set()


async def test_peer_that_stops_answering_pings_is_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets: list[Socket] = []
    send_keepalive = Socket._send_keepalive

    async def noting(socket: Socket) -> None:
        sockets.append(socket)
        await send_keepalive(socket)

    monkeypatch.setattr(Socket, "_send_keepalive", noting)
    await advance(0)  # before there is a stream, which keeps the clock that it finds
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    idle = served.service.dockfile.streaming.events.heartbeat_interval
    await served.start(run_id="r")
    async with upgraded(served, "/runs/r/ws") as frames:
        while b'"type":"token"' not in await frames.until(TEXT):
            pass
        await advance(idle)
        assert await frames.next() == (PING, b"")
        await frames.send(frame(LAST | PONG))
        await wait_until(lambda: sockets[0]._peer_active)
        await advance(idle)
        assert await frames.next() == (PING, b"")
        await advance(idle)
        assert await frames.wire.rest() == b""
    agent.go.set()
    assert (await served.finished("r"))["status"] == "completed"


SLOW = {
    "websocket": ("/runs/r/ws", UPGRADE),
    "ndjson": ("/runs/r/events", LINES),
    "sse": ("/runs/r/events", {}),
}


@pytest.mark.parametrize("transport", ["websocket", "ndjson"])
async def test_stalled_reader_is_closed_without_an_end(serve: Serve, transport: str) -> None:
    served = await serve(agent := Flood(), expose=WEBSOCKET, streaming=KEEP_ALL)
    shrink_buffers(served)
    await served.start(run_id="r")
    path, headers = SLOW[transport]
    async with silent(served, request("GET", path, headers)) as client:
        await wait_until(lambda: served.service.streams._deadlines)
        assert buffered(served) < MAX_BUFFERED
        await advance_until(lambda: not served.service.streams._deadlines)
        raw, _ = await client.rest()
    assert b'"type":"complete"' not in raw
    seen = raw.count(b'"type":"token"')
    assert 0 < seen < 2000
    agent.go.set()
    async with served.events("r", last_event_id=seen) as reader:
        assert sequences(await reader.all())[-1] == 2002


@pytest.mark.parametrize("transport", SLOW)
async def test_stalled_reader_of_single_events_costs_bounded_memory(serve: Serve, transport: str) -> None:
    served = await serve(agent := Drip(), expose=WEBSOCKET, streaming=KEEP_ALL)
    shrink_buffers(served)
    await served.start(run_id="r")
    path, headers = SLOW[transport]
    async with silent(served, request("GET", path, headers)):
        await wait_until(lambda: served.service.streams._deadlines)
        agent.begin.set()
        await agent.emitted_all.wait()
        assert 0 < buffered(served) < MAX_BUFFERED
    await served.finished("r")


@pytest.mark.parametrize("transport", SLOW)
async def test_timeout_within_an_event_sends_no_frame_into_it(serve: Serve, transport: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("x" * 8_000_000)

    served = await serve(agent, expose=WEBSOCKET)
    shrink_buffers(served)
    await served.start(run_id="r")
    await served.finished("r")
    path, headers = SLOW[transport]
    async with silent(served, request("GET", f"{path}?timeout=1", headers)) as client:
        await wait_until(lambda: served.service.streams._deadlines)
        await wait_until(lambda: not served.service.streams._deadlines)
        raw, _ = await client.rest()
    assert b"xxx" in raw
    assert b"connect again" not in raw
    assert b'"type":"complete"' not in raw


async def test_frames_after_a_disconnect_go_nowhere(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    streams: Any = served.service.streams
    async with upgraded(served) as frames:
        await frames.send(frame(LAST | TEXT, b"{}"))
        await frames.until(TEXT)
        frames.wire.reset()
        await wait_until(lambda: agent.stopped and not streams._deadlines)
