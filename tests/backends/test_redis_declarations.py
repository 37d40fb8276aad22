"""Services that share keys by mistake are noticed when one of them starts."""

import json
import os
import socket
from typing import Any

import pytest

from dockrion.backends.redis import Declaration, RedisBackend
from tests.backends.conformance import begin
from tests.backends.service import Service
from tests.backends.trouble import Logged
from tests.conftest import Serve
from tests.servers import RedisServer
from tests.support import wait_until

WARNING = (
    "another service uses the same agent name in this redis; give one of them another agent.name or "
    "streaming.redis.key_prefix, unless the Dockfile is being changed"
)
ONE = Declaration("one:handle", {"agent.handler": "1", "auth": "1", "io_schema.input": "1"}, "here", 1)
OTHER = Declaration("two:handle", {"agent.handler": "2", "auth": "1", "io_schema.input": "2"}, "there", 7)
pytestmark = pytest.mark.usefixtures("fast_beats")


def described(backend: RedisBackend, declaration: Declaration) -> dict[str, Any]:
    host, pid = declaration.host, declaration.pid
    return {"target": declaration.target, "host": host, "pid": pid, "replica": backend.replica}


async def compared(backend: RedisBackend, *others: RedisBackend) -> None:
    """Wait until a replica has compared itself with others."""
    names = {each.replica for each in others}
    found = backend._declarations
    assert found is not None
    await wait_until(lambda: found._uncompared is not None and not names & found._uncompared.keys())
    rounds = backend._client.health.rounds
    await wait_until(lambda: backend._client.health.rounds > rounds + 1)


async def test_another_dockfile_is_warned_of_with_both_services(service: Service, logged: Logged) -> None:
    other = await service.replica(declaration=OTHER)
    one = await service.replica(declaration=ONE)
    await wait_until(lambda: logged.fields(WARNING))
    await compared(one, other)
    (fields,) = logged.fields(WARNING)
    assert fields == {
        "differing": ["agent.handler", "io_schema.input"],
        "this": described(one, ONE),
        "other": described(other, OTHER),
    }


async def test_each_replica_warns_once_during_a_rolling_update(service: Service, logged: Logged) -> None:
    older = [await service.replica(declaration=OTHER) for _ in "123"]
    newer = [await service.replica(declaration=ONE) for _ in "12"]
    for each in newer:
        await compared(each, *older)
    warned = [fields["this"]["replica"] for fields in logged.fields(WARNING)]
    assert sorted(warned) == sorted(each.replica for each in newer)


async def test_the_same_dockfile_is_not_warned_of(service: Service, logged: Logged) -> None:
    other = await service.replica(declaration=ONE)
    one = await service.replica(declaration=ONE)
    await compared(one, other)
    assert logged.fields(WARNING) == []


async def test_a_setting_that_only_one_version_knows_is_not_compared(
    service: Service, logged: Logged
) -> None:
    other = await service.replica(
        declaration=Declaration("one:handle", {"auth": "1", "later": "1"}, "here", 2)
    )
    one = await service.replica(declaration=ONE)
    await compared(one, other)
    assert logged.fields(WARNING) == []


@pytest.mark.parametrize(
    "stored", ["", "[]", '{"target": 1}', '{"target":"t","settings":{},"host":"h","pid":1,"later":1}']
)
async def test_what_another_version_declares_does_no_harm(
    service: Service, logged: Logged, stored: str
) -> None:
    other = await service.replica(declaration=OTHER)
    await wait_until(lambda: service.ask("EXISTS", service.keys.declarations))
    service.ask("HSET", service.keys.declarations, other.replica, stored)
    one = await service.replica(declaration=ONE)
    await compared(one, other)
    assert logged.fields(WARNING) == []


async def test_a_dead_replica_does_not_count(service: Service, logged: Logged) -> None:
    dead = await service.replica(declaration=OTHER)
    await begin(dead)
    await service.kill(dead)
    await service.replica(declaration=ONE)
    await wait_until(lambda: dead.replica not in service.alive())
    assert logged.fields(WARNING) == []


async def test_nothing_is_left_of_replicas_that_are_gone(service: Service) -> None:
    dead = await service.replica(declaration=OTHER)
    await service.kill(dead)
    service.ask("HDEL", service.keys.replicas, dead.replica)
    one = await service.replica(declaration=ONE)
    await wait_until(lambda: service.ask("HEXISTS", service.keys.declarations, one.replica))
    await wait_until(lambda: not service.ask("HEXISTS", service.keys.declarations, dead.replica))
    stored = service.ask("HGETALL", service.keys.declarations)
    assert json.loads(stored.pop(one.replica.encode()))["target"] == "one:handle"
    assert stored == {}
    assert 0 < service.ask("TTL", service.keys.declarations) <= one._store.live_ttl
    await service.close(one)
    assert service.ask("EXISTS", service.keys.declarations) == 0


async def test_a_replica_declares_itself_again_when_redis_comes_back_empty(service: Service) -> None:
    one = await service.replica(declaration=ONE)
    await wait_until(lambda: service.ask("EXISTS", service.keys.declarations))
    service.ask("DEL", service.keys.declarations, service.keys.inbox(one.replica))
    await wait_until(lambda: service.ask("EXISTS", service.keys.declarations))


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_services_of_two_dockfiles_are_named(serve: Serve, server: RedisServer, logged: Logged) -> None:
    streaming = {"backend": "redis", "redis": {"url": server.url}}
    await serve(agent={"name": "tested", "url": "http://me:pass@127.0.0.1:9/run"}, streaming=streaming)
    await serve(streaming=streaming | {"max_queued_runs": 5, "max_concurrent_runs": 7})
    await wait_until(lambda: logged.fields(WARNING))
    (fields,) = logged.fields(WARNING)
    assert fields["differing"] == ["agent.handler", "agent.url", "streaming.max_queued_runs"]
    assert fields["this"]["target"] == "tests.support:placeholder"
    assert fields["other"]["target"] == "http://127.0.0.1:9/run"
    for side in ("this", "other"):
        assert (fields[side]["host"], fields[side]["pid"]) == (socket.gethostname(), os.getpid())
