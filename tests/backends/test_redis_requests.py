"""Requests between replicas: who receives them, what they leave in Redis, what failures do to them."""

import asyncio
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from dockrion.backends import Backend
from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.background import BackgroundWork
from dockrion.backends.redis.client import LARGE_BYTES
from dockrion.backends.redis.requests import OwnerRequests
from dockrion.errors import RunNotFound, ServiceUnavailable
from tests.backends.conformance import TIMEOUT_SECONDS, begin
from tests.backends.service import Service, reply_lost
from tests.backends.test_conformance_requests import echo, ignore, replying, send
from tests.servers import RedisServer
from tests.support import wait_until


def stored_requests(service: Service) -> list[str]:
    return [name for name in service.names() if ":question:" in name]


def waiting_for_replies(backend: RedisBackend) -> dict[str, Any]:
    return backend._requests._replies


async def request_until_reply(backend: Backend, run_id: str, text: bytes) -> bytes:
    """Repeat a request until there is a reply."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            try:
                return await backend.request_owner(run_id, text)
            except ServiceUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.usefixtures("single_beat")
async def test_a_request_from_any_replica_reaches_the_owner_alone(service: Service) -> None:
    owner, other, third = await service.replicas(3)
    writer = await begin(owner)
    async with replying(owner, echo) as received, replying(other, echo) as not_received:
        for each in (third, other, owner):
            assert await send(each, writer.run_id, b"?") == writer.run_id.encode() + b"|?"
    assert (len(received), len(not_received)) == (3, 0)


@pytest.mark.usefixtures("single_beat")
async def test_replicas_send_each_other_requests_concurrently(service: Service) -> None:
    replicas = await service.replicas(3)
    runs = [(await begin(each)).run_id for each in replicas]
    requests = [
        (each, run_id, b"%d" % number) for number in range(10) for each in replicas for run_id in runs
    ]
    async with replying(replicas[0], echo), replying(replicas[1], echo), replying(replicas[2], echo):
        replies = await asyncio.gather(*(send(*each) for each in requests))
    assert replies == [run_id.encode() + b"|" + text for _, run_id, text in requests]


@pytest.mark.usefixtures("single_beat")
async def test_a_large_request_that_takes_long_delays_no_other(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    passed, pop = asyncio.Event(), OwnerRequests._pop_body

    async def pop_slowly(requests: OwnerRequests, run_id: str, number: str, size: int) -> bytes:
        if size > LARGE_BYTES:
            await passed.wait()
        return await pop(requests, run_id, number, size)

    async with replying(owner, echo):
        with patch.object(OwnerRequests, "_pop_body", pop_slowly):
            large = asyncio.create_task(send(other, writer.run_id, b"x" * (LARGE_BYTES + 1)))
            await wait_until(lambda: stored_requests(service))
            assert await send(other, writer.run_id, b"?") == writer.run_id.encode() + b"|?"
            assert not large.done()
            passed.set()
            assert (await large).endswith(b"|" + b"x" * (LARGE_BYTES + 1))


async def test_a_handled_request_leaves_nothing(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    async with replying(owner, echo):
        await asyncio.gather(*(send(other, writer.run_id, b"%d" % n) for n in range(20)))
    assert stored_requests(service) == []
    assert not waiting_for_replies(other)
    for each in (owner, other):
        control = service.keys.inbox(each.replica)
        await wait_until(lambda: service.ask("XLEN", control) == 0)  # noqa: B023  awaited at once


async def test_a_request_that_nobody_handles_expires(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", 0.05)
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    with pytest.raises(ServiceUnavailable):
        await send(other, writer.run_id, b"?")
    (name,) = stored_requests(service)
    assert 0 < service.ask("TTL", name) <= 60
    assert not waiting_for_replies(other)


async def test_a_dead_owner_is_unavailable_and_its_inbox_is_not_created(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", 0.05)
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    await service.kill(owner)
    service.ask("DEL", service.keys.inbox(owner.replica))
    with pytest.raises(ServiceUnavailable):
        await send(other, writer.run_id, b"?")
    assert not service.ask("EXISTS", service.keys.inbox(owner.replica))


async def test_a_reply_to_a_dead_sender_leaves_nothing(service: Service) -> None:
    owner, doomed = await service.replicas(2)
    writer = await begin(owner)
    async with replying(owner, ignore) as received:
        pending = asyncio.create_task(send(doomed, writer.run_id, b"?"))
        await wait_until(lambda: received)
        pending.cancel()
        await asyncio.wait((pending,))
        await service.kill(doomed)
        service.ask("DEL", service.keys.inbox(doomed.replica))
        await received[0].reply(b"nobody receives this")
    assert not service.ask("EXISTS", service.keys.inbox(doomed.replica))
    assert stored_requests(service) == []


async def test_a_request_about_a_deleted_run_is_refused(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    service.ask("DEL", service.keys.run(writer.run_id))
    with pytest.raises(RunNotFound):
        await send(other, writer.run_id, b"?")
    assert stored_requests(service) == []


async def test_a_request_about_a_key_of_another_type_is_refused(service: Service) -> None:
    (other,) = await service.replicas(1)
    service.ask("SET", service.keys.run("odd"), "text", "EX", 60)
    with pytest.raises(RunNotFound):
        await send(other, "odd", b"?")


async def test_a_lost_reply_is_unavailable_and_the_next_request_succeeds(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    async with replying(owner, echo):
        with reply_lost(), pytest.raises(ServiceUnavailable):
            await send(other, writer.run_id, b"lost")
        assert await send(other, writer.run_id, b"next") == writer.run_id.encode() + b"|next"
    assert not waiting_for_replies(other)


async def test_malformed_messages_do_not_end_the_inbox(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    async with replying(owner, echo):
        for error in (ServiceUnavailable("away"), RunNotFound("r")):
            with (
                monkeypatch.context() as brief,
                patch.object(OwnerRequests, "_pop_body", side_effect=error) as pop,
            ):
                brief.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", 0.2)
                with pytest.raises(ServiceUnavailable):
                    await send(other, writer.run_id, b"unread")
                await wait_until(lambda: pop.called)
        note = ("XADD", service.keys.inbox(owner.replica), "NOMKSTREAM", "*")
        for fields in (
            ("question", "no-such", "run", writer.run_id, "from", other.replica),
            ("question", b"\xff", "run", b"\xff", "from", b"\xff"),
            ("question", ""),
            ("question", "no-such", "run", writer.run_id, "from", other.replica, "size", "9" * 400),
            ("question", "no-such", "run", writer.run_id, "from", other.replica, "size", "-1"),
            ("answer", "no-such", "text", b"\xff"),
            ("answer", ""),
        ):
            service.ask(*note, *fields)
        assert await send(other, writer.run_id, b"next") == writer.run_id.encode() + b"|next"


async def test_a_reply_that_cannot_be_sent_raises(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    async with replying(owner, ignore) as received:
        pending = asyncio.create_task(send(other, writer.run_id, b"?"))
        await wait_until(lambda: received)
        with reply_lost(), pytest.raises(ServiceUnavailable):
            await received[0].reply(b"sent all the same")
        assert await pending == b"sent all the same"


async def test_a_reply_to_an_inbox_of_another_type_raises_as_one_that_cannot_be_sent(
    service: Service,
) -> None:
    owner = await service.replica()
    writer = await begin(owner)
    service.ask("SET", service.keys.inbox("sender"), "something else", "EX", 60)
    service.ask(
        *("XADD", service.keys.inbox(owner.replica), "*", "run", writer.run_id, "question", "1"),
        *("from", "sender"),
    )
    service.ask("SET", service.keys.request(writer.run_id, "1"), "?", "EX", 60)
    async for request in owner.owner_requests():
        with pytest.raises(ServiceUnavailable):
            await request.reply(b"!")
        return


async def test_cut_connections_fail_at_most_the_requests_under_way(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", 1.5)
    owner, other = (
        RedisBackend(server.url, agent="tested", max_events=20, ttl=60, max_run_duration=60) for _ in "12"
    )
    writer = await begin(owner)

    async def echo_if_possible(request: OwnerRequest) -> None:
        with suppress(ServiceUnavailable):
            await echo(request)

    async with replying(owner, echo_if_possible) as received:
        pending = [
            asyncio.create_task(request_until_reply(other, writer.run_id, b"%d" % n)) for n in range(20)
        ]
        await wait_until(lambda: received)
        assert server.kill_clients()
        assert await asyncio.gather(*pending) == [f"{writer.run_id}|{n}".encode() for n in range(20)]
    for each in (owner, other):
        await each.aclose()


async def test_requests_work_before_the_first_heartbeat(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_heartbeat(work: BackgroundWork) -> None:
        await work._client.check_servers()

    monkeypatch.setattr(BackgroundWork, "run", no_heartbeat)
    owner, sender = (
        RedisBackend(server.url, agent="tested", max_events=20, ttl=60, max_run_duration=60) for _ in "12"
    )
    writer = await begin(owner)
    async with replying(owner, echo):
        assert await send(sender, writer.run_id, b"?") == writer.run_id.encode() + b"|?"
    for each in (owner, sender):
        await each.aclose()
