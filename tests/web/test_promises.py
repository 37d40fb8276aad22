"""The contract's promises about a run's events, over both patterns."""

import asyncio
import random
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends import follow
from dockrion.backends.redis.leases import BEAT_SECONDS
from dockrion.backends.redis.reaper import BEATS_TO_DEATH
from dockrion.runs import execution
from dockrion.server import process
from dockrion.web import service
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, sequences
from tests.web.helpers import Waits
from tests.web.wire import RETRY, frames

pytestmark = pytest.mark.usefixtures("every_backend")

TOKENS = 3000
READERS = 20
KEEP_ALL: dict[str, Any] = {"redis": {"max_events_per_run": 10_000}}
TERMINAL = {"complete", "error", "cancelled"}


class Fast:
    """A fast agent that admits each reader at its own random moment."""

    def __init__(self, moments: list[int]) -> None:
        self.open = [asyncio.Event() for _ in moments]
        self.joined = [asyncio.Event() for _ in moments]
        self._moments = moments

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        for number in range(TOKENS):
            await context.emit_token(f"token {number}\n")
            for index, moment in enumerate(self._moments):
                if moment == number:
                    self.open[index].set()
            if number % 10 == 0:
                await asyncio.sleep(0)
        for joined in self.joined:  # the run ends once all readers have joined
            await joined.wait()


async def read_from(served: Served, agent: Fast, index: int) -> bytes:
    await agent.open[index].wait()
    async with served.events("r") as reader:
        agent.joined[index].set()
        await reader.all()
    return reader.raw


def random_moments() -> list[int]:
    return [random.randrange(TOKENS) for _ in range(READERS)]


async def test_readers_who_join_at_random_moments_get_the_same_bytes(serve: Serve) -> None:
    served = await serve(agent := Fast(random_moments()), streaming=KEEP_ALL)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read_from(served, agent, index)) for index in range(READERS)]
        await served.start(run_id="r")
    raws = [task.result() for task in tasks]
    assert raws[0].startswith(RETRY + b"id: 1\nevent: started\n")
    assert raws[0].count(b"\nevent: token\n") == TOKENS
    assert raws == [raws[0]] * READERS


async def test_caller_of_a_stream_gets_the_same_bytes_as_other_readers(serve: Serve) -> None:
    served = await serve(agent := Waits())
    async with served.stream() as caller, served.events(caller.run_id) as live:
        agent.go.set()
        await asyncio.gather(caller.all(), live.all())
    async with served.events(caller.run_id) as late:
        await late.all()
    assert caller.raw == live.raw == late.raw


async def resume_at_random(served: Served, agent: Fast, index: int) -> list[bytes]:
    """Read over many connections, each cut at a random event, perhaps within the next one."""
    await agent.open[index].wait()
    agent.joined[index].set()
    got: list[bytes] = []
    while True:
        async with served.events("r", last_event_id=len(got)) as reader:
            limit = random.randrange(1, TOKENS // 3)
            count = 0
            async for message in reader:
                count += 1
                if count >= limit or message.event in TERMINAL:
                    break
            raw = reader.raw.removeprefix(RETRY)
            got += frames(raw[: raw.rfind(b"\n\n") + 2])
        if b"\nevent: complete\n" in got[-1]:
            return got


async def test_readers_who_reconnect_at_random_get_every_event_once(serve: Serve) -> None:
    served = await serve(agent := Fast(random_moments()), streaming=KEEP_ALL)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resume_at_random(served, agent, index)) for index in range(READERS)]
        await served.start(run_id="r")
    async with served.events("r") as reader:
        await reader.all()
    everything = frames(reader.raw)
    assert len(everything) == TOKENS + 2
    assert all(task.result() == everything for task in tasks)


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_sequences_grow_by_one_from_one(serve: Serve, pattern: str) -> None:
    served = await serve(Fast([]), streaming=KEEP_ALL)
    if pattern == "A":
        async with served.stream() as reader:
            messages = await reader.all()
    else:
        async with served.events(await served.start()) as reader:
            messages = await reader.all()
    assert sequences(messages) == list(range(1, TOKENS + 3))


async def complete(_payload: Any) -> None:
    pass


async def fail(_payload: Any) -> None:
    raise ValueError("no")


async def wait(_payload: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("agent", "terminal"), [(complete, "complete"), (fail, "error"), (wait, "error"), (wait, "cancelled")]
)
async def test_terminal_event_is_the_only_one_and_the_last(serve: Serve, agent: Any, terminal: str) -> None:
    timed_out = agent is wait and terminal == "error"
    served = await serve(agent, streaming={"events": {"max_run_duration": 1 if timed_out else 3600}})
    run_id = await served.start()
    async with served.events(run_id) as reader:
        if terminal == "cancelled":
            async with served.client.delete(f"/runs/{run_id}") as response:
                assert response.status == 200
        messages = [message.event for message in await reader.all()]
    assert messages == ["started", terminal]


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_status_is_terminal_right_after_the_terminal_event(serve: Serve, pattern: str) -> None:
    served = await serve(complete)
    for _ in range(100):
        if pattern == "A":
            async with served.stream() as reader:
                await reader.until("complete")
                run_id = reader.run_id
                status = (await served.record(run_id))["status"]
        else:
            run_id = await served.start()
            async with served.events(run_id) as reader:
                await reader.until("complete")
                status = (await served.record(run_id))["status"]
        assert status == "completed"


async def test_stream_of_a_finished_run_replays_it_and_ends(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_RETRY_SECONDS", "_RECREATED_SECONDS"):
        monkeypatch.setattr(follow, name, 3600.0)  # it waits for nothing
    served = await serve(complete)
    run_id = await served.start()
    await served.finished(run_id)
    async with asyncio.timeout(TIMEOUT_SECONDS), served.events(run_id) as reader:
        assert [message.event for message in await reader.all()] == ["started", "complete"]


def test_seconds_are_those_of_the_contract() -> None:
    """Tests of what happens after them shorten them."""
    assert service._WRITE_SECONDS == 30  # a reader that takes nothing
    assert execution.STOP_SECONDS == 5  # an agent that does not stop
    assert process.GRACE_SECONDS == 30  # agents at work when the service shuts down
    assert (BEATS_TO_DEATH + 1) * BEAT_SECONDS < 15  # runs of a replica that has died
