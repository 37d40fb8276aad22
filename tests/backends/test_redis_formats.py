"""What is stored has a format: replicas of the same one work together, and a newer one is refused."""

import asyncio

import pytest

from dockrion.backends.redis import records
from dockrion.backends.redis.health import Health
from dockrion.backends.redis.keys import Keys
from dockrion.errors import ServiceUnavailable, StartError
from tests.backends.conformance import begin, follow_all
from tests.backends.service import Service
from tests.backends.trouble import Logged
from tests.conftest import Serve
from tests.servers import RedisServer
from tests.support import TIMEOUT_SECONDS, wait_until

NEWER = records.FORMAT + 1
MESSAGE = f"has format {NEWER}, of a newer version of dockrion; this one knows formats up to {records.FORMAT}"


def store_format(service: Service, number: int) -> None:
    service.ask("SET", service.keys.format, number, "EX", 60)


def stored_format(service: Service) -> int:
    return int(service.ask("GET", service.keys.format))


async def test_a_replica_stores_its_format(service: Service) -> None:
    one = await service.replica()
    await one.check_start()
    assert stored_format(service) == records.FORMAT
    assert 3600 < service.ask("TTL", service.keys.format) <= one._store.live_ttl


async def test_data_without_a_format_is_used(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=2)
    await service.kill(one)
    service.ask("DEL", service.keys.format)
    other = await service.replica()
    await other.check_start()
    assert (await other.get(writer.run_id)).last_sequence == 2
    assert stored_format(service) == records.FORMAT


async def test_a_newer_format_is_refused_at_the_start(
    service: Service, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.redis.backend._FIRST_ROUND_SECONDS", TIMEOUT_SECONDS)
    store_format(service, NEWER)
    before = service.snapshot()
    refusing = service.connect()
    with pytest.raises(StartError, match=MESSAGE):
        await refusing.check_start()
    with pytest.raises(ServiceUnavailable, match=MESSAGE):
        await refusing.ping()
    for refused in (begin(refusing), refusing.count("name", 60), refusing.get("run")):
        with pytest.raises(ServiceUnavailable):
            await refused
    assert service.snapshot() == before
    (fields,) = logged.fields("redis holds data of a newer version")
    assert MESSAGE in fields["reason"]
    await service.close(refusing)
    assert service.snapshot() == before


@pytest.mark.usefixtures("fast_beats")
async def test_a_running_replica_stops_when_a_newer_one_starts_which_ends_its_runs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await service.replica()
    run = await begin(older, events=2)
    monkeypatch.setattr(records, "FORMAT", NEWER)
    newer = await service.replica()
    await newer.check_start()
    await wait_until(lambda: older._client.health.refusal)
    with pytest.raises(ServiceUnavailable, match=MESSAGE):
        await older.ping()
    with pytest.raises(ServiceUnavailable):
        await run.write()
    with pytest.raises(ServiceUnavailable, match=MESSAGE):
        older._leases.beat_without_loop()
    assert (await follow_all(newer, run.run_id))[-1].type == "error"
    assert stored_format(service) == NEWER


@pytest.mark.usefixtures("fast_beats")
async def test_a_replica_goes_on_when_the_newer_data_is_gone(service: Service) -> None:
    one = await service.replica()
    run = await begin(one, events=2)
    store_format(service, NEWER)
    await wait_until(lambda: one._client.health.refusal)
    service.ask("DEL", service.keys.format)
    await wait_until(lambda: one._client.health.state is Health.HEALTHY)
    await one.ping()
    await run.finish()


@pytest.mark.usefixtures("fast_beats")
@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_service_is_not_ready_and_says_why(serve: Serve, server: RedisServer) -> None:
    served = await serve(streaming={"backend": "redis", "redis": {"url": server.url, "key_prefix": "mine"}})
    keys = Keys("tested", "mine")
    assert int(server.command("GET", keys.format)) == records.FORMAT
    server.command("SET", keys.format, NEWER)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            async with served.client.get("/ready") as response:
                if response.status == 503 and MESSAGE in await response.text():
                    break
