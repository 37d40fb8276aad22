"""A replica whose event loop is blocked keeps its runs, but not without bound."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dockrion.backends.redis import RedisBackend, watchdog
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.reaper import BEATS_TO_DEATH
from dockrion.errors import RunClosed, ServiceUnavailable
from tests.backends.conformance import MAX_EVENTS, Writer, begin, read_all, sequences
from tests.backends.service import Service, beat_every
from tests.backends.trouble import Logged
from tests.servers import RedisServer
from tests.support import TIMEOUT_SECONDS, wait_until

BEAT = 0.2
BEAT_COMMAND = ("HINCRBY", "replicas", "this", 1)
DEATH_SECONDS = BEAT * BEATS_TO_DEATH


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    beat_every(monkeypatch, BEAT)
    monkeypatch.setattr(watchdog, "CHECK_SECONDS", BEAT / 2)


def hold_the_loop(released: threading.Event) -> None:
    released.wait(30)


class BlockedReplica:
    """A replica with a run on an event loop of its own, which is blocked until it is released."""

    def __init__(self, service: Service, max_run_duration: int) -> None:
        self.released = threading.Event()
        self.blocked = threading.Event()
        self.errors: list[Exception] = []
        self.replica = ""
        self.run_id = ""
        self._service = service
        self._max_run_duration = max_run_duration
        self.thread = threading.Thread(target=lambda: asyncio.run(self._work()), daemon=True)

    async def _work(self) -> None:
        backend = RedisBackend(
            self._service.server.url,
            agent=self._service.agent,
            max_events=MAX_EVENTS,
            ttl=60,
            max_run_duration=self._max_run_duration,
        )
        self.replica = backend.replica
        try:
            writer: Writer = await begin(backend, events=2)
            self.run_id = writer.run_id
            self.blocked.set()
            hold_the_loop(self.released)
            await wait_until(lambda: not backend._watchdog._checks)  # it has noticed
            try:
                await writer.finish()
            except RunClosed as error:
                self.errors.append(error)
        finally:
            await backend.aclose()


def reports(logged: Logged) -> int:
    """Count the reports that the loop is held; a busy machine may hold the test's own loop, too."""
    return sum("hold_the_loop" in each["where"] for each in logged.fields("the event loop is blocked"))


@contextmanager
def blocked_replica(service: Service, *, max_run_duration: int = 60) -> Iterator[BlockedReplica]:
    replica = BlockedReplica(service, max_run_duration)
    replica.thread.start()
    try:
        yield replica
    finally:
        replica.released.set()


async def test_the_runs_of_a_replica_with_a_blocked_loop_go_on(service: Service, logged: Logged) -> None:
    survivor = await service.replica()
    with blocked_replica(service) as suspect:
        await wait_until(suspect.blocked.is_set)
        await wait_until(lambda: reports(logged))
        end = time.monotonic() + 2 * DEATH_SECONDS
        await wait_until(lambda: time.monotonic() > end)
        assert suspect.replica in service.alive()
        assert not (await survivor.get(suspect.run_id)).finished
    await wait_until(lambda: not suspect.thread.is_alive())
    assert suspect.errors == []
    assert sequences(await read_all(survivor, suspect.run_id)) == [1, 2, 3]
    assert (await survivor.get(suspect.run_id)).status == "completed"
    assert reports(logged) == 1
    assert logged.fields("the event loop responds again")
    assert logged.fields("replica lost") == []


async def test_a_loop_that_is_blocked_for_longer_than_any_run_keeps_none(
    service: Service, logged: Logged
) -> None:
    survivor = await service.replica()
    with blocked_replica(service, max_run_duration=1) as suspect:
        await wait_until(suspect.blocked.is_set)
        await wait_until(lambda: suspect.replica not in service.alive())
        run = await survivor.get(suspect.run_id)
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["code"] == "WORKER_LOST"
    await wait_until(lambda: not suspect.thread.is_alive())
    assert [type(error) for error in suspect.errors] == [RunClosed]
    messages = logged.messages(logging.WARNING)
    assert reports(logged) == 1
    assert sum("counts as dead" in message for message in messages) == 1


async def test_a_loop_that_takes_turns_is_not_reported(service: Service, logged: Logged) -> None:
    before = time.monotonic()
    longest, end = 0.0, before + 4 * BEAT
    backend = await service.replica()
    while before < end:
        await asyncio.sleep(0.005)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    if longest < BEAT:  # else the machine was too busy to tell
        assert logged.fields("the event loop is blocked") == []
    assert backend.replica in service.alive()


async def test_the_watchdog_outlives_an_outage(
    monkeypatch: pytest.MonkeyPatch, server: RedisServer, logged: Logged
) -> None:
    service = Service(server.kind)
    monkeypatch.setattr(service, "server", server)
    with blocked_replica(service) as suspect:
        await wait_until(suspect.blocked.is_set)
        await wait_until(lambda: reports(logged))
        server.restart()
        key = service.keys.replicas
        before = int(server.command("HGET", key, suspect.replica))
        await wait_until(lambda: int(server.command("HGET", key, suspect.replica)) > before + 2)
    await wait_until(lambda: not suspect.thread.is_alive())
    assert suspect.errors == []


@contextmanager
def replying(reply: Callable[[bytes], bytes]) -> Iterator[RedisClient]:
    """Run a server that is not quite Redis, and return a client of it."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            while command := connection.recv(4096):
                connection.sendall(reply(command))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield RedisClient(f"redis://127.0.0.1:{listening.getsockname()[1]}", pool_size=1)
        server.join(TIMEOUT_SECONDS)


async def test_a_malformed_reply_is_a_failed_heartbeat() -> None:
    with replying(lambda _command: b"%1\r\n*1\r\n:1\r\n:2\r\n") as client:
        with pytest.raises(ServiceUnavailable):
            await asyncio.to_thread(client.send_without_loop, BEAT_COMMAND[1], BEAT_COMMAND)
        await client.aclose()


async def test_a_heartbeat_needs_no_newer_protocol_than_other_commands() -> None:
    def reply_as_redis_5(command: bytes) -> bytes:
        if b"HELLO" in command:
            return b"-ERR unknown command `HELLO`\r\n"
        return b":1\r\n" if b"HINCRBY" in command else b"+OK\r\n"

    with replying(reply_as_redis_5) as client:
        await asyncio.to_thread(client.send_without_loop, BEAT_COMMAND[1], BEAT_COMMAND)
        await client.aclose()
