"""The privileges that the guide lists for a user of Redis are those that the service needs.

That they suffice is shown by the conformance suite and all tests of replicas, which run with them.
"""

import asyncio
import re

import pytest

from dockrion.backends.redis import RedisBackend, find_problem
from dockrion.backends.work_queue import next_attempt
from dockrion.errors import ServiceUnavailable
from dockrion.events import Entry
from tests.backends.conformance import advanced, begin, entries, follow_all, new_run
from tests.backends.service import MAX_BYTES
from tests.backends.test_conformance_outbox import acknowledge, copying, next_lease, outbox_of
from tests.backends.trouble import Logged
from tests.deployments import shared_sentinels
from tests.servers import RedisServer, least_privileges, sentinel_privileges
from tests.support import wait_until

OF_THE_TEST = {"auth", "hello", "client|setinfo", "config|resetstat"}


def replica(url: str, max_events: int = 20) -> RedisBackend:
    return RedisBackend(
        url,
        agent="tested",
        max_events=max_events,
        max_bytes=MAX_BYTES,
        ttl=60,
        max_run_duration=60,
        copying=copying,
    )


def used(server: RedisServer) -> set[str]:
    """Return the commands that were executed, those of scripts included."""
    return {name.removeprefix("cmdstat_") for name in server.command("INFO", "commandstats")}


def commands(rules: list[str]) -> set[str]:
    return {rule[1:] for rule in rules if rule.startswith("+")}


async def use_everything(url: str) -> None:
    """Do with two replicas whatever a service does with Redis, and let one of them die."""
    one, other = replica(url), replica(url)
    try:
        await one.ping()
        writer = await begin(one, owner="ann", events=3)
        async with other.watch(writer.run_id, limit=1):
            await writer.write(30)
            await one.append(writer.run, entries(4, 33))  # again, as after a lost reply
            await other.read(writer.run_id, 20, 10)
        await asyncio.gather(answer(one), other.request_owner(writer.run_id, b"request"))
        await other.request_cancel(writer.run_id, "reason")
        await other.get(writer.run_id)
        await other.get_input(writer.run_id)
        await other.recent(status=None, limit=10, cursor=None, owner="ann")
        await other.count("name", 60)
        await other.hold("name", "holder", 60)
        await other.secret()
        lease = await next_lease(one)
        await writer.write(1)
        assert await outbox_of(one).finish(lease) is not None
        await acknowledge(one, lease.delivery)
        await outbox_of(one).claim(1)
        for _ in range(2):
            await other.queue.enqueue(new_run(max_attempts=2), b"job", 10)
        taken, waiting = await one.queue.take(2, lambda _: False)
        assert await one.queue.release(next_attempt(taken.run, "shutdown"))
        await other.queue.take(2, lambda _: False)
        await one.queue.release(next_attempt(waiting.run, "shutdown"))
        await one.force_close(advanced(new_run(), 5, "failed"), Entry(5, "error", b"{}", 1.0))
        await one._client.send(("ZADD", one._store.keys.expiry, 0, "of an expired run"))
        one._watchdog.stop()
        await one._tasks.cancel_until_done()  # dies
        assert await follow_all(other, writer.run_id)
    finally:
        for each in (one, other):
            await each.aclose()


async def answer(backend: RedisBackend) -> None:
    async for request in backend.owner_requests():
        await request.reply(b"reply")
        return


@pytest.mark.usefixtures("fast_beats")
async def test_each_command_in_the_guide_is_needed(server: RedisServer) -> None:
    url = server.least_privileged_url
    server.command("CONFIG", "RESETSTAT")
    await use_everything(f"{url.removesuffix('/0')}/1")
    assert used(server) - OF_THE_TEST == commands(least_privileges())
    assert server.command("ACL", "LOG") == []


OUTSIDE_OF_SCRIPTS = {"evalsha", "script|load", "client|setname", "select", "info"}


async def problem_at(url: str) -> str | None:
    return await find_problem(url, agent="tested", key_prefix="dockrion")


async def test_each_missing_privilege_is_diagnosed(server: RedisServer) -> None:
    url = server.least_privileged_url
    assert await problem_at(url) is None
    tried = commands(least_privileges()) - OUTSIDE_OF_SCRIPTS - {"set", "del"}
    server.command("ACL", "SETUSER", "least-privileged", *(f"-{each}" for each in tried))
    problem = await problem_at(url)
    assert problem is not None
    assert set(problem.partition(": ")[2].partition(";")[0].split(", ")) == tried
    assert server.command("KEYS", "*") == []


@pytest.mark.parametrize("missing", ["set", "del"])
async def test_commands_that_would_leave_a_key_are_not_tried(server: RedisServer, missing: str) -> None:
    url = server.least_privileged_url
    server.command("ACL", "SETUSER", "least-privileged", f"-{missing}")
    message = f"the user of streaming.redis.url may not use: {missing}; the guide lists what is needed"
    assert await problem_at(url) == message
    assert all(server.command("TTL", key) > 0 for key in server.command("KEYS", "*"))


async def test_the_privileges_on_sentinels_suffice_and_are_needed() -> None:
    servers, rules = shared_sentinels(), sentinel_privileges()
    (sentinel,) = servers.sentinels
    login = "sentinel_username=few&sentinel_password=few"
    for left_out in (None, *commands(rules)):
        kept = [rule for rule in rules if rule != f"+{left_out}"]
        sentinel.command("ACL", "SETUSER", "few", "reset", "on", ">few", *kept)
        problem = await problem_at(f"{servers.least_privileged_url}?{login}")
        assert (problem is None) == (left_out is None), left_out


def test_nothing_else_is_allowed() -> None:
    others = [rule for rule in least_privileges() if not rule.startswith("+")]
    assert others == ["resetkeys", "~dockrion:*", "resetchannels", "-@all"]
    assert not any(re.search(r"[@*]", command) for command in commands(least_privileges()))


@pytest.mark.parametrize("missing", ["evalsha", "script|load", "zadd", "xread", "client|setname"])
async def test_a_missing_privilege_is_named(server: RedisServer, missing: str, logged: Logged) -> None:
    url = server.least_privileged_url
    server.command("ACL", "SETUSER", "least-privileged", f"-{missing}")
    backend = replica(url)
    try:
        if missing == "zadd":
            with pytest.raises(ServiceUnavailable):
                await begin(backend)
        await wait_until(lambda: "NOPERM" in logged.redis_errors())
        (fields,) = logged.fields(f"redis error: {logged.advice('NOPERM')}")
        in_script = server.kind == "redis" and missing == "zadd"  # Redis 7.0 does not say which command
        assert ("this command" if in_script else f"'{missing}'") in fields["reason"]
    finally:
        await backend.aclose()


async def test_keys_that_are_not_allowed_are_reported(server: RedisServer, logged: Logged) -> None:
    url = server.least_privileged_url
    server.command("ACL", "SETUSER", "least-privileged", "resetkeys", "~dockrion:another:*")
    backend = replica(url)
    try:
        await wait_until(lambda: "NOPERM" in logged.redis_errors())
        (fields,) = logged.fields(f"redis error: {logged.advice('NOPERM')}")
        assert "key" in fields["reason"]
    finally:
        await backend.aclose()
