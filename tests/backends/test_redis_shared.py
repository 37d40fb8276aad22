"""Counters and the secret in Redis: what is stored, and what failures do to them."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.health import Health
from dockrion.backends.redis.keys import Command
from dockrion.errors import ServiceUnavailable
from tests.backends.conformance import MAX_EVENTS
from tests.backends.service import Service, reply_lost
from tests.servers import KINDS, RedisServer
from tests.support import wait_until

DAY = 86_400
Replace = Callable[[Service, str], Any]


def replaced_by(*words: Any) -> Replace:
    """Return a function that replaces a key by what a command stores."""

    def replace(service: Service, key: str) -> None:
        service.ask("DEL", key)
        service.ask(words[0], key, *words[1:])

    return replace


INVALID_VALUES = {
    "text": replaced_by("SET", "garbage"),
    "nothing": replaced_by("SET", ""),
    "too long": replaced_by("SET", b"\xff" * 33),
    "too large": replaced_by("SET", 2**63 - 1),
    "negative": replaced_by("SET", -5),
    "list": replaced_by("RPUSH", "x"),
    "hash": replaced_by("HSET", "owner", "x"),
}


async def test_replicas_share_a_counter(service: Service) -> None:
    replicas = await service.replicas(3)
    uses = await asyncio.gather(*(each.count("n", 60) for each in replicas * 100))
    assert sorted(use.count for use in uses) == list(range(1, 301))


@pytest.mark.parametrize("replace", [INVALID_VALUES["list"], INVALID_VALUES["hash"]], ids=["list", "hash"])
async def test_replicas_share_the_names_that_one_holds(service: Service, replace: Replace) -> None:
    one, other = await service.replicas(2)
    key = service.keys.holder("n")
    assert await one.hold("n", "a", 60)
    assert not await other.hold("n", "b", 60)
    assert 50 < service.ask("TTL", key) <= 60
    replace(service, key)
    assert await other.hold("n", "b", 60)
    assert not await one.hold("n", "a", 0)
    assert await other.hold("n", "b", 0)
    assert not service.ask("EXISTS", key)


async def test_a_counter_expires_with_its_window(service: Service) -> None:
    one = await service.replica()
    key = service.keys.counter("n", 60)
    await one.count("n", 60)
    service.ask("EXPIRE", key, 30)
    assert (await one.count("n", 60)).seconds_left <= 30
    assert 0 < service.ask("TTL", key) <= 30


async def test_key_names_do_not_reveal_what_is_counted(service: Service) -> None:
    one = await service.replica()
    await one.count("ann@example.com" * 1_000, 60)
    (name,) = [name for name in service.names() if ":uses:" in name]
    assert "ann" not in name
    assert len(name) < 200


async def test_a_call_whose_reply_is_lost_may_count_twice_but_never_less(service: Service) -> None:
    one = await service.replica()
    with reply_lost(), pytest.raises(ServiceUnavailable):
        await one.count("n", 60)
    assert (await one.count("n", 60)).count == 2


@pytest.mark.parametrize("replace", INVALID_VALUES.values(), ids=INVALID_VALUES)
async def test_a_value_that_is_not_a_count_is_replaced(service: Service, replace: Replace) -> None:
    one = await service.replica()
    replace(service, service.keys.counter("n", 60))
    assert [(await one.count("n", 60)).count for _ in range(2)] == [1, 2]
    assert 0 < service.ask("TTL", service.keys.counter("n", 60)) <= 60


@pytest.mark.parametrize("change", [("PERSIST",), ("EXPIRE", 3_000)], ids=["no expiry", "too long"])
async def test_a_counter_does_not_outlive_its_window(service: Service, change: tuple[Any, ...]) -> None:
    one = await service.replica()
    key = service.keys.counter("n", 60)
    await one.count("n", 60)
    service.ask(change[0], key, *change[1:])
    usage = await one.count("n", 60)
    assert (usage.count, usage.seconds_left) == (2, 60)
    assert 0 < service.ask("TTL", key) <= 60


async def test_replicas_that_start_together_have_one_secret(service: Service) -> None:
    replicas = await service.replicas(4)
    secrets = await asyncio.gather(*(each.secret() for each in replicas * 5))
    assert len(set(secrets)) == 1
    for each in replicas:
        await service.close(each)
    assert await (await service.replica()).secret() == secrets[0]


async def test_each_use_of_the_secret_renews_it_for_a_day(service: Service) -> None:
    one = await service.replica()
    await one.secret()
    service.ask("EXPIRE", service.keys.secret, 20)
    await one.secret()
    assert DAY - 20 < service.ask("TTL", service.keys.secret) <= DAY


async def test_a_secret_whose_reply_was_lost_is_kept(service: Service) -> None:
    one = await service.replica()
    with reply_lost(), pytest.raises(ServiceUnavailable):
        await one.secret()
    assert service.ask("GET", service.keys.secret) == await one.secret()


@pytest.mark.parametrize("replace", INVALID_VALUES.values(), ids=INVALID_VALUES)
async def test_a_value_that_is_not_a_secret_is_replaced_by_one_for_all(
    service: Service, replace: Replace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = await service.replicas(2)
    before = await one.secret()
    replace(service, service.keys.secret)
    secrets = set(await asyncio.gather(*(each.secret() for each in (one, other) * 5)))
    assert len(secrets) == 1
    (after,) = secrets
    assert after != before
    assert len(after) == 32
    assert 0 < service.ask("TTL", service.keys.secret) <= DAY
    assert repr(after) not in caplog.text


async def test_each_is_one_round_trip(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await service.replica()
    trips: list[tuple[Command, ...]] = []
    send = RedisClient.send

    async def noted(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        trips.append(commands)
        return await send(client, *commands, **more)

    monkeypatch.setattr(RedisClient, "send", noted)
    await one.count("n", 60)
    await one.secret()
    assert [len(commands) for commands in trips] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_neither_is_available_while_redis_is_away(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(kind, tmp_path, aof=True) as server:
        one = RedisBackend(server.url, agent="away", max_events=MAX_EVENTS, ttl=60, max_run_duration=60)
        secret = await one.secret()
        server.kill()
        for _ in range(2):
            with pytest.raises(ServiceUnavailable):
                await one.count("n", 60)
            with pytest.raises(ServiceUnavailable):
                await one.secret()
        server.start()
        await wait_until(lambda: one._client.health.state is not Health.UNREACHABLE)
        assert await one.secret() == secret
        assert (await one.count("n", 60)).count == 1
        assert repr(secret) not in caplog.text
        await one.aclose()
