"""Requests to a run's owner, and its replies."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion.backends import Backend
from dockrion.backends.owner_messages import OwnerRequest
from dockrion.errors import RunNotFound, ServiceUnavailable
from tests.backends.conformance import BACKENDS, TIMEOUT_SECONDS, begin, cancel_requests, sequences

SOON = 0.05  # seconds to wait for a reply that must not come
Reply = Callable[[OwnerRequest], Awaitable[None]]


@asynccontextmanager
async def replying(backend: Backend, reply: Reply) -> AsyncIterator[list[OwnerRequest]]:
    """Handle requests as an owner of runs does, each in its own task."""
    received: list[OwnerRequest] = []

    async def listen() -> None:
        async with asyncio.TaskGroup() as group:
            async for request in backend.owner_requests():
                received.append(request)
                group.create_task(_run(reply, request))

    task = asyncio.create_task(listen())
    try:
        yield received
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _run(reply: Reply, request: OwnerRequest) -> None:
    await reply(request)


async def echo(request: OwnerRequest) -> None:
    await request.reply(request.run_id.encode() + b"|" + request.body)


async def ignore(_request: OwnerRequest) -> None:
    """Send no reply."""


async def send(backend: Backend, run_id: str, body: bytes) -> bytes:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await backend.request_owner(run_id, body)


async def test_reply_is_returned(backend: Backend) -> None:
    writer = await begin(backend)
    async with replying(backend, echo) as received:
        assert await send(backend, writer.run_id, b"what?") == writer.run_id.encode() + b"|what?"
    assert [(request.run_id, request.body) for request in received] == [(writer.run_id, b"what?")]


@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\r\n$-1\r\n", bytes(range(256)), "\N{GREEK SMALL LETTER BETA}".encode()]
)
async def test_requests_and_replies_are_any_bytes(backend: Backend, body: bytes) -> None:
    async def repeat(request: OwnerRequest) -> None:
        await request.reply(request.body)

    writer = await begin(backend)
    async with replying(backend, repeat):
        assert await send(backend, writer.run_id, body) == body


async def test_requests_and_replies_may_be_large(backend: Backend) -> None:
    large = random.randbytes(12 * 1024**2)

    async def reverse(request: OwnerRequest) -> None:
        await request.reply(request.body[::-1][: 1024**2])

    writer = await begin(backend)
    async with replying(backend, reverse):
        assert await send(backend, writer.run_id, large) == large[::-1][: 1024**2]


async def test_request_about_an_unknown_run_is_refused(backend: Backend) -> None:
    async with replying(backend, echo) as received:
        with pytest.raises(RunNotFound):
            await send(backend, "unknown", b"?")
        assert received == []


async def test_concurrent_requesters_get_their_own_replies(backend: Backend) -> None:
    runs = [(await begin(backend)).run_id for _ in range(5)]
    sent = [(run_id, b"%d" % number) for number in range(40) for run_id in runs]
    async with replying(backend, echo):
        replies = await asyncio.gather(*(send(backend, run_id, body) for run_id, body in sent))
    assert replies == [run_id.encode() + b"|" + body for run_id, body in sent]


async def test_replies_may_arrive_in_any_order(backend: Backend) -> None:
    writer = await begin(backend)
    waiting: list[OwnerRequest] = []

    async def reply_last_first(request: OwnerRequest) -> None:
        waiting.append(request)
        if len(waiting) == 5:
            for each in reversed(waiting):
                await echo(each)

    async with replying(backend, reply_last_first):
        replies = await asyncio.gather(*(send(backend, writer.run_id, b"%d" % n) for n in range(5)))
    assert replies == [f"{writer.run_id}|{n}".encode() for n in range(5)]


async def test_requests_arrive_in_order(backend: Backend) -> None:
    writer = await begin(backend)
    async with replying(backend, echo) as received:
        for number in range(10):
            await send(backend, writer.run_id, b"%d" % number)
    assert [request.body for request in received] == [b"%d" % number for number in range(10)]


async def test_request_waits_for_a_consumer(backend: Backend) -> None:
    writer = await begin(backend)
    waiting = asyncio.create_task(send(backend, writer.run_id, b"early"))
    await asyncio.wait((waiting,), timeout=SOON)
    assert not waiting.done()
    async with replying(backend, echo):
        assert await waiting == writer.run_id.encode() + b"|early"


async def test_request_without_a_reply_times_out(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", SOON)
    writer = await begin(backend)
    async with replying(backend, ignore):
        with pytest.raises(ServiceUnavailable) as refused:
            await send(backend, writer.run_id, b"?")
    assert "Retry-After" in refused.value.headers


async def test_late_and_repeated_replies_are_dropped(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", SOON)
    writer = await begin(backend)
    async with replying(backend, ignore) as received:
        with pytest.raises(ServiceUnavailable):
            await send(backend, writer.run_id, b"slow")
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", TIMEOUT_SECONDS)

    async def late_then_twice(request: OwnerRequest) -> None:
        for each in (*received, request):
            await each.reply(each.body)
            await each.reply(b"again")

    async with replying(backend, late_then_twice):
        assert await send(backend, writer.run_id, b"now") == b"now"
        assert await send(backend, writer.run_id, b"next") == b"next"


async def test_cancelled_requester_affects_no_other(backend: Backend) -> None:
    writer = await begin(backend)
    leaving = asyncio.create_task(send(backend, writer.run_id, b"leaves"))
    await asyncio.wait((leaving,), timeout=SOON)
    leaving.cancel()
    await asyncio.wait((leaving,))
    async with replying(backend, echo):
        assert await send(backend, writer.run_id, b"stays") == writer.run_id.encode() + b"|stays"


async def test_requests_and_cancel_requests_do_not_mix(backend: Backend) -> None:
    writer = await begin(backend)
    async with replying(backend, echo) as received, cancel_requests(backend) as cancels:
        await backend.request_cancel(writer.run_id, "enough")
        await send(backend, writer.run_id, b"?")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await cancels.get() == (writer.run_id, "enough")
    assert len(received) == 1
    assert cancels.empty()


async def test_request_does_not_change_the_run(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    async with replying(backend, echo):
        await send(backend, writer.run_id, b"?")
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2, 3]
    await writer.write()


async def test_request_about_a_finished_run_is_delivered(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.finish()
    async with replying(backend, echo):
        assert await send(backend, writer.run_id, b"?") == writer.run_id.encode() + b"|?"


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", sorted(BACKENDS))
@given(bodies=st.lists(st.binary(max_size=50), max_size=20), turns=st.lists(st.integers(0, 5), min_size=1))
async def test_any_concurrent_requests_get_their_own_replies(
    kind: str, bodies: list[bytes], turns: list[int]
) -> None:
    async def slowly(request: OwnerRequest) -> None:
        for _ in range(turns[len(request.body) % len(turns)]):
            await asyncio.sleep(0)
        await echo(request)

    async with BACKENDS[kind](20) as made:
        writer = await begin(made)
        async with replying(made, slowly) as received:
            replies = await asyncio.gather(*(send(made, writer.run_id, body) for body in bodies))
    assert replies == [writer.run_id.encode() + b"|" + body for body in bodies]
    assert sorted(request.body for request in received) == sorted(bodies)
