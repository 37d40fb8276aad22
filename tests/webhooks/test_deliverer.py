"""Delivery from the outbox: order, retries, giving up, and what happens when a replica dies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from dockrion.backends import Backend
from dockrion.backends.outbox import Outbox
from dockrion.backends.run_log import Run
from dockrion.errors import ServiceUnavailable
from dockrion.events import Entry
from dockrion.metrics import WebhookMetrics
from dockrion.metrics.families import Families
from dockrion.webhooks import receivers
from dockrion.webhooks.allowed_hosts import AllowedHosts
from dockrion.webhooks.deliverer import Deliverer
from dockrion.webhooks.schedule import Schedule
from dockrion.webhooks.sender import Sender
from dockrion.webhooks.signing import Secret
from dockrion.webhooks.targets import Targets
from tests.backends import conformance
from tests.backends.conformance import BACKENDS, advanced, begin, new_run
from tests.backends.service import Service
from tests.backends.trouble import Logged
from tests.servers import KINDS
from tests.support import wait_until
from tests.webhooks.receiver import SECRET, Receiver, away, hang, receiving

ALL = ("token", "complete")
SOON = (0.01,) * 20


def events(first: int, last: int, kind: str = "token") -> list[Entry]:
    return [Entry(n, kind, b'{"sequence":%d}' % n, 1_000.0 + n) for n in range(first, last + 1)]


def targets_at(*urls: str, types: tuple[str, ...] = ALL) -> Targets:
    return Targets([(url, Secret(SECRET), types) for url in urls], Secret(SECRET))


@dataclass
class Process:
    """A backend, and what delivers from it."""

    backend: Backend
    targets: Targets
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    deliverer: Deliverer | None = None

    @property
    def outbox(self) -> Outbox:
        assert self.backend.outbox is not None
        return self.backend.outbox

    def start(
        self,
        *,
        pauses: tuple[float, ...] = SOON,
        seconds: float = 5,
        lease: float = 10,
        longest: float = 3600,
    ) -> None:
        self.deliverer = Deliverer(
            self.outbox,
            self.targets,
            Sender(AllowedHosts(["127.0.0.0/8"]), seconds=seconds),
            WebhookMetrics(Families("tested", self.registry)),
            schedule=Schedule(pauses, longest),
            lease_seconds=lease,
            poll_seconds=0.02,
        )

    async def append(self, run: Run, batch: list[Entry]) -> Run:
        status = "completed" if batch[-1].type == "complete" else "running"
        run = advanced(run, batch[-1].sequence, status)  # type: ignore[arg-type]
        await self.backend.append(run, batch)
        return run

    async def finished_run(self, tokens: int = 0, **fields: Any) -> Run:
        """Store a run with so many tokens and an end."""
        run = msgspec.structs.replace(new_run(), **fields)
        await self.backend.create(run)
        return await self.append(run, [*events(1, tokens), *events(tokens + 1, tokens + 1, "complete")])

    def value(self, outcome: str) -> float:
        return self.shown("dockrion_webhooks_total", outcome=outcome)

    def shown(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"agent": "tested", **labels}) or 0

    async def empty(self) -> None:
        """Wait until nothing waits any more."""
        async with asyncio.timeout(10):
            while (await self.outbox.claim(0)).waiting:
                await asyncio.sleep(0.01)


Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture(params=["memory", KINDS[0]])  # the conformance suite shows that all are alike
def process(request: pytest.FixtureRequest) -> Start:
    @asynccontextmanager
    async def start(
        targets: Targets, first_lease: float = conformance.LEASE_SECONDS, **options: Any
    ) -> AsyncIterator[Process]:
        """Start a process that holds a delivery for so long when it has stored an event."""
        async with AsyncExitStack() as stack:
            with patch.object(conformance, "LEASE_SECONDS", first_lease):
                backend = await stack.enter_async_context(BACKENDS[request.param](100, targets.copies))
            made = Process(backend, targets)
            if options.pop("deliver", True):
                made.start(**options)
            try:
                yield made
            finally:
                if made.deliverer is not None:
                    await made.deliverer.aclose(0.2)

    return start


async def test_an_event_is_delivered_once_it_is_stored(process: Start, receiver: Receiver) -> None:
    async with process(targets_at(receiver.url)) as one:
        run = await one.finished_run(tokens=1)
        await receiver.wait_for(2)
        assert [body["data"]["run_id"] for body in receiver.received] == [run.run_id] * 2
        assert [body["type"] for body in receiver.received] == ["run.token", "run.completed"]
        await one.empty()
        assert (one.value("delivered"), one.value("failed"), one.value("given_up")) == (2, 0, 0)


async def test_events_of_a_run_arrive_in_order_and_those_of_others_meanwhile(
    process: Start, receiver: Receiver
) -> None:
    async with process(targets_at(receiver.url)) as one:
        runs = [(await begin(one.backend)).run for _ in range(3)]
        for sequence in range(1, 21):
            kind = "complete" if sequence == 20 else "token"
            runs = [await one.append(run, events(sequence, sequence, kind)) for run in runs]
        await receiver.wait_for(60)
        for run in runs:
            found = [body["data"] for body in receiver.received if body["data"]["run_id"] == run.run_id]
            assert [data["event"]["sequence"] for data in found] == list(range(1, 21))
        await one.empty()


async def test_a_failed_attempt_is_repeated_with_the_same_id_before_later_events(
    process: Start, receiver: Receiver
) -> None:
    receiver.script(*(web.Response(status=status) for status in (500, 302, 404, 204, 503)))
    async with process(targets_at(receiver.url)) as one:
        await one.finished_run(tokens=2)
        await receiver.wait_for(7)
        assert receiver.sequences == [1, 1, 1, 1, 2, 2, 3]
        assert len(set(receiver.ids[:4])) == 1
        assert len(set(receiver.ids)) == 3
        await one.empty()
        assert (one.value("delivered"), one.value("failed")) == (3, 4)


async def test_a_receiver_that_was_away_gets_everything_in_order(process: Start) -> None:
    with away() as (reserved, url):
        async with process(targets_at(url), pauses=(0.02,) * 500) as one:
            run = (await begin(one.backend)).run
            for sequence in range(1, 4):
                run = await one.append(run, events(sequence, sequence))
            await wait_until(lambda: one.value("failed") >= 2)
            async with receiving(reserved=reserved) as back:
                await back.wait_for(3)
                assert back.sequences == [1, 2, 3]
                await one.empty()


async def test_retry_after_is_heeded(process: Start, receiver: Receiver) -> None:
    receiver.script(web.Response(status=503, headers={"Retry-After": "1"}))
    async with process(targets_at(receiver.url), pauses=(0.01, 60)) as one:
        started = asyncio.get_running_loop().time()
        await one.finished_run()
        await wait_until(lambda: len(receiver.received) == 2, timeout=50)
        assert asyncio.get_running_loop().time() - started > 0.9


async def test_it_gives_up_in_the_end_and_says_so(process: Start, receiver: Receiver, logged: Logged) -> None:
    receiver.script(*(web.Response(status=500) for _ in range(3)))
    async with process(targets_at(receiver.url), pauses=SOON[:2]) as one:
        run = await one.finished_run(tokens=1)
        await one.empty()
        assert receiver.sequences == [1, 1, 1]
        assert (one.value("failed"), one.value("given_up"), one.value("delivered")) == (3, 2, 0)
        (line,) = logged.fields("webhook given up")
        assert line["run_id"] == run.run_id
        assert line["reason"] == "the receiver responds 500"
        assert (line["events"], line["attempts"]) == (2, 3)
        assert "token" not in line["receiver"]
        await one.finished_run()  # later runs are not given up on
        await receiver.wait_for(4)


async def test_a_target_that_is_gone_gets_nothing_more(process: Start, receiver: Receiver) -> None:
    receiver.script(web.Response(status=410))
    async with receiving() as other, process(targets_at(receiver.url, other.url)) as one:
        await one.finished_run(tokens=1)
        await one.empty()
        await one.finished_run()
        await one.empty()
        assert receiver.sequences == [1]
        assert other.sequences == [1, 2, 1]
        assert one.value("given_up") == 3


async def test_a_callers_url_that_is_gone_is_not_that_of_other_runs(
    process: Start, receiver: Receiver
) -> None:
    receiver.script(web.Response(status=410))
    async with process(targets_at()) as one:
        await one.finished_run(webhook_url=receiver.url)
        await one.empty()
        await one.finished_run(webhook_url=receiver.url)
        await receiver.wait_for(2)


async def test_a_run_tells_its_callers_url_how_it_ends(process: Start, receiver: Receiver) -> None:
    async with process(targets_at()) as one:
        await one.finished_run(tokens=3, webhook_url=receiver.url)
        await one.finished_run(tokens=3)
        await receiver.wait_for(1)
        await one.empty()
        assert receiver.sequences == [4]


async def test_a_slow_receiver_delays_neither_runs_nor_other_receivers(
    process: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "_REQUESTS", 2)
    receiver.respond = hang
    async with receiving() as other, process(targets_at(receiver.url, other.url)) as one:
        for _ in range(10):
            await one.finished_run()
        await other.wait_for(10)
        await wait_until(lambda: receiver.open == 2)
        assert receiver.most_open == 2


async def test_a_receiver_that_is_away_is_not_asked_for_each_run(
    process: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "_FIRST_PAUSE_SECONDS", 0.2)
    with away() as (reserved, url):
        async with process(targets_at(url), pauses=(0.02,) * 500) as one:
            for _ in range(50):
                await one.finished_run()
            await wait_until(lambda: one.value("failed") >= receivers._FAILURES)
            await asyncio.sleep(0.1)
            assert one.value("failed") < 3 * receivers._FAILURES
            async with receiving(reserved=reserved) as back:
                await back.wait_for(50)
                await one.empty()


async def test_what_has_waited_for_too_long_is_given_up(
    process: Start, receiver: Receiver, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "_FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(receivers, "_FAILURES", 0)  # it counts as away from the beginning
    receiver.respond = hang
    async with process(targets_at(receiver.url), deliver=False) as one:
        one.start(seconds=0.1, longest=0.3)
        await one.finished_run()
        await one.finished_run()
        await one.empty()
        assert one.value("given_up") == 2
        reasons = {line["reason"] for line in logged.fields("webhook given up")}
        assert "the receiver is away" in reasons


async def test_a_slow_receiver_is_asked_again_after_the_timeout(process: Start, receiver: Receiver) -> None:
    receiver.script(hang)
    async with process(targets_at(receiver.url), seconds=0.1) as one:
        await one.finished_run()
        await receiver.wait_for(2)
        assert receiver.ids[0] == receiver.ids[1]


async def test_a_lease_is_extended_while_sending_takes_long(process: Start, receiver: Receiver) -> None:
    async def slowly(_: web.Request) -> web.Response:
        await asyncio.sleep(0.15)
        return web.Response()

    receiver.script(*[slowly] * 4)
    async with process(targets_at(receiver.url), first_lease=0.5) as one:
        await one.finished_run(tokens=4)
        await one.empty()
        assert receiver.sequences == [1, 2, 3, 4, 5]


async def test_what_waits_is_shown_by_metrics(process: Start, receiver: Receiver) -> None:
    receiver.respond = hang
    async with process(targets_at(receiver.url)) as one:
        await one.finished_run()
        await wait_until(lambda: one.shown("dockrion_webhooks_waiting") == 1)
        await wait_until(lambda: one.shown("dockrion_webhooks_oldest_seconds") > 0.05)


async def test_events_that_were_dropped_are_counted_and_logged(
    process: Start, receiver: Receiver, logged: Logged
) -> None:
    receiver.script(web.Response(status=500))  # what is dropped is counted once, however often it fails
    async with process(targets_at(receiver.url), deliver=False) as one:
        run = (await begin(one.backend)).run
        large = b"x" * 2**18
        for sequence in range(1, 8):
            data = b'{"sequence":%d,"x":"%s"}' % (sequence, large)
            run = await one.append(run, [Entry(sequence, "token", data, 1.0)])
        one.start()
        await wait_until(lambda: 7 in receiver.sequences)
        await one.empty()
        dropped = 7 - len(set(receiver.sequences))
        assert dropped > 0
        assert one.value("given_up") == dropped
        (line,) = logged.fields("webhook given up")
        assert (line["events"], line["reason"]) == (dropped, "too much waited")


async def test_an_unreachable_outbox_does_not_end_delivery(process: Start, receiver: Receiver) -> None:
    async with process(targets_at(receiver.url), first_lease=0.5) as one:
        outbox: Any = one.outbox
        undelivered, fails = outbox.undelivered, 1

        async def sometimes(*arguments: Any) -> Any:
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise ServiceUnavailable("away")
            return await undelivered(*arguments)

        outbox.undelivered = sometimes
        await one.finished_run()
        await receiver.wait_for(1)


async def test_what_is_not_delivered_at_the_end_is_left_to_others(process: Start, receiver: Receiver) -> None:
    receiver.script(hang)
    async with process(targets_at(receiver.url), lease=60) as one:
        await one.finished_run()
        await receiver.wait_for(1)
        assert one.deliverer is not None
        await one.deliverer.aclose(0.05)
        one.registry = CollectorRegistry()
        one.start(lease=60)
        await receiver.wait_for(2)
        assert receiver.ids[0] == receiver.ids[1]


@pytest.mark.usefixtures("fast_beats")
async def test_when_a_replica_dies_another_delivers(service: Service, receiver: Receiver) -> None:
    targets = targets_at(receiver.url, types=("token", "error"))
    options: dict[str, Any] = {"copying": targets.copies, "lease_seconds": 0.5}
    one = Process(await service.replica(**options), targets)
    other = Process(await service.replica(**options), targets)
    receiver.script(hang)
    one.start(lease=0.5)
    run = (await begin(one.backend)).run
    await one.append(run, events(1, 2))
    await receiver.wait_for(1)
    assert one.deliverer is not None
    for task in (*one.deliverer._listeners, *one.deliverer._tasks):
        task.cancel()  # dies in the middle of a delivery, without releasing it
    await service.kill(one.backend)  # type: ignore[arg-type]
    other.start()
    await receiver.wait_for(4)
    assert receiver.sequences == [1, 1, 2, 3]
    assert receiver.received[-1]["data"]["event"]["code"] == "WORKER_LOST"
    await other.empty()
    for each in (one, other):
        assert each.deliverer is not None
        await each.deliverer.aclose(0.1)


async def test_a_target_of_another_version_of_the_dockfile_is_left_to_others(
    service: Service, receiver: Receiver
) -> None:
    targets = targets_at(receiver.url)
    one = Process(await service.replica(copying=targets.copies), targets_at("http://127.0.0.1:1/"))
    one.start()
    await one.finished_run()
    await asyncio.sleep(0.1)
    assert (await one.outbox.claim(10)).waiting == 1
    assert one.value("given_up") == 0
    assert one.deliverer is not None
    await one.deliverer.aclose(0.1)


async def test_two_replicas_deliver_each_event_once(service: Service, receiver: Receiver) -> None:
    targets = targets_at(receiver.url)
    both = [Process(await service.replica(copying=targets.copies), targets) for _ in range(2)]
    for each in both:
        each.start()
    await asyncio.gather(*(each.finished_run(tokens=5) for each in both for _ in range(5)))
    await both[0].empty()
    assert len(receiver.ids) == len(set(receiver.ids)) == 60
    for each in both:
        assert each.deliverer is not None
        await each.deliverer.aclose(0.1)
