"""Pushing events through a replica that does not own the run."""

import asyncio
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Any

import msgspec
import pytest
from yarl import URL

from dockrion import ids
from dockrion.backends.redis import RedisBackend
from tests import support
from tests.backends.conformance import delete_keys
from tests.conftest import Serve
from tests.servers import KINDS, Server, shared
from tests.support import Served, wait_until
from tests.web.helpers import Waits, error_of
from tests.web.test_push import ALL, ENABLED, END, own, push, refused
from tests.web.test_push_refusals import WRONG
from tests.web.test_push_urls import Accepting
from tests.web.test_sidecar import process, sidecar

Pair = tuple[Served, Served]


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Store all runs in Redis, and return the prefix of the keys."""
    agent = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(KINDS[0]).url, "agent": agent})
    yield f"dockrion:{agent}:"
    delete_keys(KINDS[0], agent)


@pytest.fixture
async def pair(serve: Serve, prefix: str, request: pytest.FixtureRequest) -> Pair:
    """Serve two replicas."""
    more = getattr(request, "param", {})
    replicas = [await serve(streaming=ENABLED | more) for _ in range(2)]
    server = shared(KINDS[0])
    for each in replicas:
        backend = each.service.backend
        assert isinstance(backend, RedisBackend)
        control = f"{prefix}{{service}}:control:{backend.replica}"
        await wait_until(partial(server.command, "EXISTS", control))
    return replicas[0], replicas[1]


def stored_requests(prefix: str, server: Server) -> list[bytes]:
    return [key for key in server.command("KEYS", f"{prefix}*") if b"question" in key]


@pytest.mark.usefixtures("prefix")
@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
async def test_an_agent_process_pushes_to_the_replica_that_executes_the_run(
    serve: Serve, bound: str, reached: str
) -> None:
    agent = Accepting()
    async with process(agent.answer) as url:
        streaming = {"ingest": {"enabled": True}, "max_concurrent_runs": 1}
        busy = await sidecar(serve, url, streaming=streaming)
        first = await busy.start()
        await agent.url(first)
        other = await sidecar(serve, url, streaming=streaming)
        other.service.address = bound, 4711
        waiting = await busy.start()
        push_url = URL(await agent.url(waiting))
        assert (push_url.host, push_url.port) == (reached, 4711)
        for run_id, port in ((waiting, other.client.port), (first, busy.client.port)):
            there = URL(await agent.url(run_id)).with_host("127.0.0.1").with_port(port)
            async with busy.client.session.post(there, json=END) as response:
                assert response.status == 200
        assert await own(busy, waiting) == []


async def test_any_replica_accepts_events_with_the_same_response(pair: Pair) -> None:
    owner, other = pair
    run_id = await owner.start(external="true")
    accepted = {"success": True, "run_id": run_id, "accepted": 2, "duplicate": False}
    again = accepted | {"accepted": 0, "duplicate": True}
    assert await push(other, run_id, ALL[:2], producer_seq=1) == accepted
    assert await push(owner, run_id, ALL[:2], producer_seq=1) == again
    assert await push(other, run_id, ALL[:2], producer_seq=1) == again
    assert await push(owner, run_id, ALL[2:4], producer_seq=2) == accepted
    assert await push(other, run_id, ALL[2:4], producer_seq=2) == again
    assert await push(other, run_id, [ALL[4], END], producer_seq=3) == accepted
    for each in pair:
        await each.finished(run_id)
        assert await push(each, run_id, END, producer_seq=3) == again
        assert await own(each, run_id) == ALL[:5]


async def test_refusals_are_the_same_from_every_replica(pair: Pair) -> None:
    owner, other = pair
    run_id = await owner.start(external="true")
    await push(owner, run_id, ALL, producer_seq=1)
    asked: list[tuple[Any, dict[str, Any]]] = [
        *(([ALL[0], event], {}) for event, _ in WRONG),
        (ALL, {"producer_seq": 3}),
        (END, {"producer_seq": 2**63 - 1}),
        ([], {}),
        ([{}] * 30, {"producer_seq": 2}),
    ]

    async def responses(served: Served) -> list[tuple[int, Any]]:
        found = []
        for events, query in asked:
            async with served.client.post(f"/runs/{run_id}/events", json=events, params=query) as response:
                assert response.status in (400, 409)
                found.append((response.status, await response.json()))
        return found

    assert await responses(owner) == await responses(other)
    await push(other, run_id, END)
    await owner.finished(run_id)
    assert await responses(owner) == await responses(other)
    for each in pair:
        await refused(each, "nobody", ALL, 404, "NOT_FOUND")
    assert await own(other, run_id) == ALL


async def test_concurrent_duplicates_to_both_replicas_are_accepted_once(pair: Pair) -> None:
    run_id = await pair[0].start(external="true")
    for number in range(1, 6):
        responses = await asyncio.gather(
            *(push(each, run_id, ALL, producer_seq=number) for each in pair for _ in range(10))
        )
        assert sorted(response["accepted"] for response in responses) == [0] * 19 + [len(ALL)]
    async with asyncio.TaskGroup() as group:
        for each in (*pair,) * 10:
            group.create_task(push(each, run_id, END, producer_seq=6))
    assert await own(pair[1], run_id) == ALL * 5


async def test_producers_over_both_replicas_lose_nothing_and_keep_batches_whole(pair: Pair) -> None:
    run_id = await pair[0].start(external="true")

    async def produce(name: str, through: Served) -> None:
        for number in range(10):
            batch = [{"type": "custom:x", "of": name, "number": number, "part": part} for part in range(5)]
            assert (await push(through, run_id, batch))["accepted"] == 5

    await asyncio.gather(*(produce(f"{at}.{n}", each) for at, each in enumerate(pair) for n in range(8)))
    await push(pair[1], run_id, END)
    found = await own(pair[0], run_id)
    batches = [found[at : at + 5] for at in range(0, len(found), 5)]
    assert len(batches) == 160
    for batch in batches:
        first = batch[0]
        assert batch == [first | {"part": part} for part in range(5)]
    for name in {each[0]["of"] for each in batches}:
        assert [each[0]["number"] for each in batches if each[0]["of"] == name] == list(range(10))


async def test_producers_sharing_producer_seq_write_in_order(pair: Pair) -> None:
    run_id = await pair[0].start(external="true")

    async def insist(number: int, through: Served) -> None:
        query = {"producer_seq": number}
        batch = [{"type": "custom:x", "number": number}] * 3
        while True:
            async with through.client.post(f"/runs/{run_id}/events", json=batch, params=query) as response:
                if response.status == 200:
                    return
                await error_of(response, 409, "CONFLICT")

    await asyncio.gather(*(insist(number, each) for number in range(12, 0, -1) for each in pair))
    await push(pair[1], run_id, END, producer_seq=13)
    assert [event["number"] for event in await own(pair[0], run_id)] == [
        n for n in range(1, 13) for _ in "123"
    ]


async def test_large_batch_arrives_complete(pair: Pair) -> None:
    run_id = await pair[0].start(external="true")
    large = [{"type": "custom:large", "text": "ä" * 4_000} for _ in range(999)]
    body, headers = BytesIO(msgspec.json.encode([*large, END])), {"Content-Type": "application/json"}
    async with pair[1].client.post(f"/runs/{run_id}/events", data=body, headers=headers) as response:
        assert (await response.json())["accepted"] == 1000
    assert await own(pair[0], run_id) == large


async def test_agent_is_stopped_through_another_replica(pair: Pair) -> None:
    owner, other = pair
    owner.use(agent := Waits())
    run_id = await owner.start("asked")
    await wait_until(lambda: agent.payloads)
    await push(other, run_id, [ALL[0], END])
    await wait_until(lambda: agent.stopped == ["asked"])
    assert (await other.finished(run_id))["output"] == END["output"]


@pytest.mark.parametrize("pair", [{"max_concurrent_runs": 1}], indirect=True)
async def test_run_that_waits_for_a_slot_accepts_no_events_yet(pair: Pair) -> None:
    owner, other = pair
    working = [await replica.start(external="true") for replica in pair]
    waiting = await owner.start(external="true")
    for replica in pair:
        await refused(replica, waiting, ALL, 503, "SERVICE_UNAVAILABLE")
    for each in (*working, waiting):
        async with other.events(each) as reader:
            await reader.until("started")
            await push(other, each, END)
        await other.finished(each)


async def test_unresponsive_owner_is_unavailable(
    pair: Pair, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", 0.1)
    owner, other = pair
    run_id = await owner.start(external="true")
    await owner.service.owner_requests.aclose(1)
    async with other.client.post(f"/runs/{run_id}/events", json=ALL) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert response.headers["Retry-After"]
    server = shared(KINDS[0])
    assert all(0 < server.command("TTL", key) <= 60 for key in stored_requests(prefix, server))
    await push(owner, run_id, END)
    assert await own(other, run_id) == []


async def test_owner_without_ingest_refuses_at_once(serve: Serve, prefix: str) -> None:
    owner, other = await serve(agent := Waits()), await serve(streaming=ENABLED)
    run_id = await owner.start()
    for _ in range(3):
        body = await refused(other, run_id, ALL)
        assert "streaming.ingest" in body["error"]
    assert stored_requests(prefix, shared(KINDS[0])) == []
    agent.go.set()
    record = await other.finished(run_id)
    assert (record["status"], record["output"]) == ("completed", {"done": True})


async def test_requests_between_replicas_leave_nothing_behind(pair: Pair, prefix: str) -> None:
    owner, other = pair
    run_id = await owner.start(external="true")
    await asyncio.gather(*(push(other, run_id, ALL) for _ in range(20)))
    await refused(other, run_id, {"type": "odd"})
    assert stored_requests(prefix, shared(KINDS[0])) == []
    assert isinstance(other.service.backend, RedisBackend)
    assert not other.service.backend._requests._replies
    await push(owner, run_id, END)
    await owner.finished(run_id)
    assert len(owner.service.owner_requests._tasks) == 1  # the listener
