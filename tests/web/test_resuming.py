"""Where a reader starts, and how gaps are reported."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, data, sequences
from tests.web.helpers import Waits
from tests.web.wire import RETRY, dechunked, frame_data, frames, request, shrink_buffers, silent

pytestmark = pytest.mark.usefixtures("every_backend")

SMALL: dict[str, Any] = {"redis": {"max_events_per_run": 10}}


async def fifty(_payload: object, context: StreamContext) -> None:
    for number in range(50):
        await context.emit_token(str(number))


async def finished(serve: Serve, streaming: dict[str, Any] | None = None) -> Served:
    served = await serve(fifty, streaming=streaming or {})
    await served.start(run_id="r")
    await served.finished("r")
    return served


async def test_long_answer_can_be_read_again_whole(serve: Serve) -> None:
    async def agent(_payload: object, context: StreamContext) -> None:
        for number in range(5_000):
            await context.emit_token(f"word{number} ")

    served = await serve(agent)
    async with served.stream() as reader:
        first = await reader.all()
    async with served.events(reader.run_id) as again:
        assert sequences(await again.all()) == list(range(1, 5_003))
    assert again.raw.endswith(reader.raw[-100_000:])
    assert sequences(first)[-1] == 5_002


@pytest.mark.parametrize(
    ("query", "first"),
    [({}, 1), ({"from_sequence": 0}, 1), ({"from_sequence": 1}, 1), ({"from_sequence": 20}, 20)],
)
async def test_from_sequence_is_inclusive(serve: Serve, query: dict[str, int], first: int) -> None:
    served = await finished(serve)
    async with served.events("r", **query) as reader:
        assert sequences(await reader.all()) == list(range(first, 53))


async def test_last_event_id_is_exclusive(serve: Serve) -> None:
    served = await finished(serve)
    async with served.events("r", last_event_id=20) as reader:
        assert sequences(await reader.all()) == list(range(21, 53))


async def test_last_event_id_wins_over_from_sequence(serve: Serve) -> None:
    served = await finished(serve)
    async with served.events("r", last_event_id=40, from_sequence=3) as reader:
        assert sequences(await reader.all()) == list(range(41, 53))


async def test_empty_last_event_id_is_none(serve: Serve) -> None:
    served = await finished(serve)
    async with served.events("r", last_event_id="", from_sequence=50) as reader:
        assert sequences(await reader.all()) == [50, 51, 52]


async def test_eventsource_with_all_events_is_stopped(serve: Serve) -> None:
    served = await finished(serve)
    async with served.client.get("/runs/r/events", headers={"Last-Event-ID": "52"}) as response:
        assert response.status == 204
        assert await response.read() == b""


@pytest.mark.parametrize("last_event_id", [53, 100000])
async def test_a_position_that_the_run_never_reached_gets_a_gap_and_all_events(
    serve: Serve, last_event_id: int
) -> None:
    served = await finished(serve)
    async with served.events("r", last_event_id=last_event_id) as reader:
        assert sequences(await reader.all()) == list(range(1, 53))
    gap = b'event: gap\ndata: {"requested":%d,"first_available":1}\n\n' % (last_event_id + 1)
    assert reader.raw.startswith(RETRY + gap + b"id: 1\n")


async def test_eventsource_that_is_up_to_date_gets_later_events(serve: Serve) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    async with served.events(run_id) as reader:
        await reader.until("token")
    async with served.events(run_id, last_event_id=2) as again:
        agent.go.set()
        assert sequences(await again.all()) == [3, 4]


@pytest.mark.parametrize(
    ("query", "requested"), [({}, 1), ({"from_sequence": 5}, 5), ({"last_event_id": 41}, 42)]
)
async def test_late_reader_gets_a_gap(serve: Serve, query: dict[str, int], requested: int) -> None:
    served = await finished(serve, SMALL)
    async with served.events("r", **query) as reader:
        messages = await reader.all()
    gap = b'event: gap\ndata: {"requested":%d,"first_available":43}\n\n' % requested
    assert reader.raw.startswith(RETRY + gap + b"id: 43\n")
    assert sequences(messages) == list(range(43, 53))


async def test_reader_within_the_window_gets_no_gap(serve: Serve) -> None:
    served = await finished(serve, SMALL)
    async with served.events("r", from_sequence=43) as reader:
        assert [message.event for message in await reader.all()] == [*["token"] * 9, "complete"]


async def test_late_reader_of_a_live_run_gets_a_gap(serve: Serve) -> None:
    gate = asyncio.Event()

    async def agent(payload: object, context: StreamContext) -> None:
        await fifty(payload, context)
        await gate.wait()

    served = await serve(agent, streaming=SMALL)
    run_id = await served.start()
    while (await served.record(run_id))["last_sequence"] < 51:
        await asyncio.sleep(0.005)
    async with served.events(run_id) as reader:
        messages = []
        async for message in reader:
            messages.append(message)
            if message.id == "51":
                gate.set()
    assert data(messages[0]) == {"requested": 1, "first_available": 42}
    assert sequences(messages) == list(range(42, 53))


async def test_live_reader_slower_than_the_window_gets_gaps(serve: Serve) -> None:
    async def agent(_payload: object, context: StreamContext) -> None:
        for _ in range(1000):
            await context.emit_token("x" * 2000)

    served = await serve(agent, streaming=SMALL)
    shrink_buffers(served)
    await served.start(run_id="r")
    async with silent(served, request("GET", "/runs/r/events", {"Connection": "close"})) as client:
        await served.finished("r")
        raw, _ = await client.rest()
    body = dechunked(raw)
    got = frames(body)
    ids = [int(frame.split(b"\n")[0].removeprefix(b"id: ")) for frame in got if frame.startswith(b"id: ")]
    gaps = [frame for frame in got if frame.startswith(b"event: gap\n")]
    missed = sum(after - before - 1 for before, after in zip([0, *ids], ids, strict=False))
    assert gaps
    assert missed == sum(missing(frame) for frame in gaps)
    assert ids == sorted(set(ids))
    assert ids[-1] == 1002
    assert got[-1].split(b"\n")[1] == b"event: complete"


def missing(gap: bytes) -> int:
    fields = frame_data(gap)
    return int(fields["first_available"]) - int(fields["requested"])
