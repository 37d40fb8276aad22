"""What one run takes of Redis is bounded in bytes: its oldest events go, and readers are told."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion import StreamContext
from dockrion.backends.redis import RedisBackend
from dockrion.events import Entry
from tests.backends.conformance import advanced, begin, new_run, read_all
from tests.backends.service import Service
from tests.backends.trouble import checked_end, following
from tests.conftest import Serve
from tests.servers import KINDS, RedisServer
from tests.support import sequences

MIB = 1024 * 1024
MAX_BYTES = 1000
MAX_EVENTS = 20
BATCHES = st.lists(
    st.lists(st.sampled_from([10, 40, 100, 300, 700, 1000, 1500]), min_size=1, max_size=6),
    min_size=1,
    max_size=15,
)


def batch_of(sizes: list[int], first: int) -> list[Entry]:
    return [
        Entry(first + number, "token", b'"%s"' % (b"x" * (size - 2)), 1_000.0)
        for number, size in enumerate(sizes)
    ]


async def check(service: Service, batches: list[list[int]]) -> None:
    backend = await service.replica(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    run = new_run()
    await backend.create(run)
    _, stream = service.keys.log(run.run_id)
    sizes: list[int] = []
    for batch in batches:
        entries = batch_of(batch, len(sizes) + 1)
        sizes += batch
        run = advanced(run, len(sizes))
        for _ in range(2):  # repeated after a lost reply
            await backend.append(run, entries)
        kept = service.ask("XLEN", stream)
        log = await read_all(backend, run.run_id, len(sizes) - kept)
        assert [(entry.sequence, len(entry.data)) for entry in log] == [
            (len(sizes) - kept + number + 1, size) for number, size in enumerate(sizes[-kept:])
        ]
        assert 1 <= kept <= MAX_EVENTS
        assert kept == 1 or sum(sizes[-kept:]) <= MAX_BYTES
        assert kept in (MAX_EVENTS, len(sizes)) or sum(sizes[-kept - 1 :]) > MAX_BYTES * 3 / 4
    await service.close(backend)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_newest_events_are_stored_within_both_bounds(kind: str, batches: list[list[int]]) -> None:
    async def run() -> None:
        service = Service(kind)
        try:
            await check(service, batches)
        finally:
            await service.aclose()

    asyncio.run(run())


async def test_a_run_of_an_earlier_version_is_bounded_from_its_next_event_on(service: Service) -> None:
    """Such a run has no count of bytes."""
    backend: RedisBackend = await service.replica(max_events=MAX_EVENTS, max_bytes=MAX_BYTES)
    writer = await begin(backend, events=5)
    service.ask("HDEL", service.keys.run(writer.run_id), "bytes")
    for number in range(6, 12):
        await backend.append(advanced(writer.run, number), batch_of([500], number))
    log = await read_all(backend, writer.run_id, 10)
    assert [entry.sequence for entry in log] == [11]


async def test_readers_of_a_run_that_exceeds_the_bound_get_a_gap(server: RedisServer, serve: Serve) -> None:
    """A run may take a quarter of `limits.max_stored_bytes`, and at least 2 MiB."""
    emitted = asyncio.Event()

    async def agent(_payload: object, context: StreamContext) -> None:
        for _ in range(200):
            await context.emit_token("x" * 20_000)
        await emitted.wait()

    streaming = {"backend": "redis", "redis": {"url": server.url}}
    limits = {"max_stored_bytes": MIB}
    served = await serve(agent, streaming=streaming, limits=limits)
    other = await serve(streaming=streaming, limits=limits)
    run_id = await served.start()
    async with following(run_id, served) as (live,):
        await live.until(201)
        async with other.events(run_id) as late:
            emitted.set()
            messages = await late.all()
        assert [messages[0].event, messages[-1].event] == ["gap", "complete"]
        stored = sequences(messages)
        assert 1.5 * MIB / 21_000 < len(stored) < 2 * MIB / 20_000 + 2
        assert stored == list(range(203 - len(stored), 203))
        assert checked_end(await live.end()) == "complete"
