"""A run that is begun again: its log goes on, and its agent knows."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext, get_current_context, ids
from dockrion.backends.run_log import Run, WaitingFor
from dockrion.backends.work_queue import TakenRun
from dockrion.errors import ServiceUnavailable
from dockrion.events import EventFilter, PreviousEnd
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Call
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Stop
from dockrion.runs.recorder import RunRecorder
from dockrion.runs.settings import RunSettings
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.harness import Gate, bench
from tests.backends.conformance import START, advanced, entries, new_run, read_all
from tests.backends.publishing import BufferBench, GatedBackend, contents
from tests.support import TIMEOUT_SECONDS, wait_until


async def continued(**options: Any) -> BufferBench:
    """Return a run whose first attempt has emitted three events before its worker was lost."""
    backend, run = GatedBackend(), new_run()
    await backend.create(run)
    question = WaitingFor(request_id="q", prompt="Sure?", expires_at=START)
    started = msgspec.structs.replace(advanced(run, 3), started_at=START, waiting_for=question)
    await backend.append(started, entries(1, 3))
    waiting = msgspec.structs.replace(started, status="accepted", attempt=2, previous="worker_lost")
    return BufferBench(backend, waiting, last_sequence=3, **options)


def recorder(made: BufferBench) -> RunRecorder:
    settings = RunSettings(
        agent_name="tested",
        framework="custom",
        events_filter=EventFilter(),
        output_schema=None,
        max_run_duration=60,
        max_concurrent_runs=1,
        max_queued_runs=0,
        max_stored_events=1000,
        streamed=True,
        max_event_bytes=1000,
        max_emitted_events=1000,
        output_policy=None,
        tools=ToolPolicy(),
    )
    return RunRecorder(settings, Metrics("tested"), Redactor(), NamedLocks(made.backend))


async def test_the_log_is_continued_by_the_next_attempt() -> None:
    made = await continued()
    made.token("a")
    made.token("b")
    made.finish()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await made.writer
    log = await read_all(made.backend, made.buffer.run_id)
    assert [entry.sequence for entry in log] == [1, 2, 3, 4, 5, 6]
    assert contents(log[3:]) == ["a", "b"]
    assert msgspec.json.decode(log[3].data)["id"] == f"{made.buffer.run_id}:4"
    record = await made.backend.get(made.buffer.run_id)
    assert (record.status, record.last_sequence, record.attempt) == ("cancelled", 6, 2)


async def test_the_limit_of_events_counts_those_of_all_attempts() -> None:
    made = await continued(max_events=5)
    for content in "abc":
        made.token(content)
    assert made.stops == [Stop("limit")]
    made.finish()
    await made.writer
    assert contents((await read_all(made.backend, made.buffer.run_id))[3:]) == ["a", "b"]


async def test_an_attempt_starts_although_the_one_before_has_reached_the_limit_of_events() -> None:
    made = await continued(max_events=3)
    recorder(made).start(made.buffer, Call(None, attempt=2, previous="worker_lost"), "")
    assert made.stops == []
    made.token("too many")
    assert made.stops == [Stop("limit")]
    made.finish()
    await made.writer
    log = await read_all(made.backend, made.buffer.run_id)
    assert [entry.type for entry in log[3:]] == ["started", "cancelled"]


async def test_the_record_keeps_its_first_start_and_has_no_question_of_an_earlier_attempt() -> None:
    made = await continued()
    recorder(made).start(made.buffer, Call(None, attempt=2, previous="shutdown"), "")
    await wait_until(lambda: made.stored)
    record = await made.backend.get(made.buffer.run_id)
    assert (record.status, record.started_at, record.waiting_for) == ("running", START, None)
    made.finish()
    await made.writer


@pytest.mark.parametrize(("attempt", "previous"), [(1, None), (2, "worker_lost"), (3, "shutdown")])
async def test_only_a_later_attempt_says_so_in_its_started_event(
    attempt: int, previous: PreviousEnd | None
) -> None:
    async with bench(lambda _payload: None) as made:
        call = Call(None, attempt=attempt, previous=previous)
        events = (await made.ended((await made.runs.start(call, ids.uuid7())).run_id)).events
    own = {name: events[0][name] for name in ("attempt", "previous") if name in events[0]}
    assert own == ({} if attempt == 1 else {"attempt": attempt, "previous": previous})


async def test_agents_of_every_shape_know_their_attempt() -> None:
    def in_thread(_payload: Any, context: StreamContext) -> int:
        return context.attempt

    async def anywhere(_payload: Any) -> int:
        context = await asyncio.to_thread(get_current_context)
        assert context is not None
        return context.attempt

    for agent in (in_thread, anywhere):
        async with bench(agent) as made:
            for call, expected in ((Call(None), 1), (Call(None, attempt=2, previous="worker_lost"), 2)):
                run = await made.runs.start(call, ids.uuid7())
                assert (await made.ended(run.run_id)).output == expected
            assert await made.invoke() == 1


async def test_a_run_is_handed_over_once_the_storage_can_be_reached() -> None:
    released: list[Run] = []
    failures = 2

    async def release(run: Run) -> bool:
        nonlocal failures
        if failures:
            failures -= 1
            raise ServiceUnavailable("unreachable")
        released.append(run)
        return True

    async def rebuild(_taken: TakenRun) -> tuple[None, Call]:
        return None, Call("asked")

    async with bench(agent := Gate()) as made:
        vars(made.backend)["queue"] = SimpleNamespace(release=release)
        made.runs._rebuild = rebuild
        run = msgspec.structs.replace(new_run(), max_attempts=2)
        await made.backend.create(run)
        made.runs._begin(TakenRun(run, b"", None), made.runs.slots.reserve())
        await wait_until(lambda: agent.began)
        await made.runs.drain(0)
    assert [(each.status, each.attempt, each.previous) for each in released] == [("accepted", 2, "shutdown")]


async def test_an_attempt_waits_while_its_request_cannot_be_read() -> None:
    failures = 2

    async def rebuild(_taken: TakenRun) -> tuple[None, Call]:
        nonlocal failures
        if failures:
            failures -= 1
            raise ServiceUnavailable("unreachable")
        return None, Call("asked")

    async with bench(lambda payload: payload) as made:
        run = msgspec.structs.replace(new_run(), attempt=2, previous="worker_lost")
        await made.backend.create(run)
        made.runs._rebuild = rebuild
        made.runs._begin(TakenRun(run, b"", None), made.runs.slots.reserve())
        ended = await made.ended(run.run_id)
    assert ended.output == "asked"
    assert ended.events[0]["attempt"] == 2
