"""One agent at work on one call: its outcome, and that it really stops."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.errors import AgentFailed, AgentTimedOut, InvalidOutput
from dockrion.runs import execution
from tests.agents.harness import bench, cancelled, ran, spin
from tests.loop_clock import advance
from tests.support import wait_until


class OwnError(Exception):
    """An agent's own."""


class OwnBaseError(BaseException):
    """One that `except Exception` does not catch."""


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


Shape = Callable[[BaseException], Callable[..., Any]]


def from_def(error: BaseException) -> Callable[..., Any]:
    def agent(_payload: Any) -> None:
        raise error

    return agent


def from_async_def(error: BaseException) -> Callable[..., Any]:
    async def agent(_payload: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return agent


def from_generator(error: BaseException) -> Callable[..., Any]:
    def agent(_payload: Any) -> Any:
        yield "a"
        raise error

    return agent


def from_async_generator(error: BaseException) -> Callable[..., Any]:
    async def agent(_payload: Any) -> Any:
        yield "a"
        raise error

    return agent


SHAPES = [from_def, from_async_def, from_generator, from_async_generator]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)


@shapes
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (OwnError("own"), "OwnError: own"),
        (OwnError(), "OwnError"),
        (KeyError("k"), "KeyError: 'k'"),
        (OwnBaseError("base"), "OwnBaseError: base"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit(), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError("by itself"), "CancelledError: by itself"),
        (TimeoutError("mine"), "TimeoutError: mine"),
        (GeneratorExit(), "GeneratorExit"),
        (UnspeakableError(), "UnspeakableError: <UnspeakableError: __str__ raised RuntimeError>"),
        (ValueError("\ud800"), r"ValueError: \ud800"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
async def test_whatever_the_agent_raises_fails_the_run_with_type_and_message(
    error: BaseException, message: str, shape: Shape
) -> None:
    async with bench(shape(error)) as made:
        ended = await made.run()
        assert ended.types[-1] == "error"
        assert ended.error == message
        assert ended.code == "AGENT_EXECUTION_ERROR"
        assert ended.terminal["details"] == {"type": type(error).__name__}
        with pytest.raises(AgentFailed) as raised:
            await made.invoke()
        assert raised.value.message == message


async def test_stop_iteration_of_a_function_is_named_as_itself() -> None:
    ended = await ran(lambda _payload: next(iter([])))
    assert ended.error == "StopIteration"
    assert ended.terminal["details"] == {"type": "StopIteration"}


@shapes
async def test_stop_iteration_fails_the_run_in_every_shape(shape: Shape) -> None:
    assert "StopIteration" in (await ran(shape(StopIteration("s")))).error


@pytest.mark.parametrize(
    ("message", "left_out"),
    [
        ("cannot read /srv/agent/secret.json: denied", ["/srv", "secret.json"]),
        ("cannot read '/srv/my agent/secret.json'", ["/srv", "secret.json"]),
        (r"cannot read C:\agents\secret.json", ["agents", "secret.json"]),
        ("bad key sk-12345 given", ["sk-12345"]),
        ("x" * 100_000, ["x" * 10_000]),
    ],
)
async def test_message_reaches_the_caller_without_paths_and_secrets(
    message: str, left_out: list[str]
) -> None:
    ended = await ran(from_def(ValueError(message)), secrets=("sk-12345",))
    assert ended.error.startswith("ValueError: ")
    for part in left_out:
        assert part not in ended.error


async def test_no_traceback_reaches_the_caller() -> None:
    ended = await ran(from_async_def(OwnError("x")))
    assert "Traceback" not in str(ended.events)
    assert __file__ not in str(ended.events)


async def test_output_without_json_form_fails_the_run_and_names_the_path() -> None:
    def agent(_payload: Any) -> Any:
        return {"rows": [1, object()]}

    async with bench(agent) as made:
        ended = await made.run()
        assert ended.code == "INVALID_OUTPUT"
        assert "output.rows[1]" in ended.error
        with pytest.raises(InvalidOutput):
            await made.invoke()


async def test_completed_run_has_its_output_in_event_and_record() -> None:
    ended = await ran(lambda payload: {"got": payload}, 5)
    assert ended.run.status == "completed"
    assert ended.output == {"got": 5}
    assert ended.terminal["output"] == {"got": 5}
    assert ended.terminal["metadata"] == {"agent": "tested", "framework": "custom"}
    assert 0 <= ended.terminal["latency_seconds"] < 10
    assert ended.run.started_at is not None
    assert ended.run.completed_at is not None
    assert ended.run.created_at <= ended.run.started_at <= ended.run.completed_at
    assert ended.run.error is None
    assert ended.events[0]["agent_name"] == "tested"
    assert ended.events[0]["framework"] == "custom"


async def test_async_agent_over_its_time_is_stopped_before_the_run_ends() -> None:
    ends: list[str] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            assert context.cancelled
            await context.emit_token("bye")
            ends.append("stopped")

    async with bench(agent, duration=0.02) as made:
        ended = await made.run()
        assert ends == ["stopped"]
    assert ended.code == "TIMEOUT_ERROR"
    assert ended.types == ["started", "token", "error"]


async def test_sync_agent_over_its_time_is_stopped_by_its_next_emit() -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        spin(context)
        context.sync_emit_token("never")

    ended = await ran(agent, duration=0.02)
    assert ended.code == "TIMEOUT_ERROR"
    assert ended.types == ["started", "error"]


async def test_invoke_over_its_limit_raises_and_stops_the_agent() -> None:
    ends: list[bool] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(context.cancelled)

    async with bench(agent) as made:
        with pytest.raises(AgentTimedOut):
            await made.invoke(limit=0.02)
        await wait_until(lambda: ends == [True])


async def test_invoke_whose_caller_left_stops_the_agent() -> None:
    ends: list[bool] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        working.set()
        spin(context)
        ends.append(context.cancelled)

    working = threading.Event()
    async with bench(agent) as made:
        asking = asyncio.create_task(made.invoke())
        await wait_until(working.is_set)
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        await wait_until(lambda: ends == [True])
        await wait_until(lambda: made.free_slots == 100)


async def test_an_error_of_a_cancelled_agent_does_not_change_the_outcome() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("x")
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in clean-up")

    ended = await cancelled(agent)
    assert ended.run.status == "cancelled"
    assert ended.run.error is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.05)


async def test_late_output_of_an_agent_that_swallowed_its_cancel_is_ignored() -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        await context.emit_token("x")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await context.emit_token("in time")
        return "late"

    ended = await cancelled(agent)
    assert ended.run.output is None
    assert ended.types == ["started", "token", "token", "cancelled"]


@pytest.mark.usefixtures("impatient")
async def test_run_of_an_async_agent_that_swallows_its_cancel_ends_all_the_same() -> None:
    release = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> str:
        await context.emit_token("x")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        await context.emit_token("late")
        return "late"

    async with bench(agent, slots=1) as made:
        run_id = await made.start()
        await made.emitted(run_id, 2)
        await made.runs.cancel(run_id, "enough")
        ended = await made.ended(run_id)
        assert ended.types == ["started", "token", "cancelled"]
        assert made.free_slots == 0
        release.set()
        await wait_until(lambda: made.free_slots == 1)
        assert await made.ended(run_id) == ended


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("stop", ["cancel", "timeout"])
async def test_sync_agent_that_ignores_its_stop_holds_its_slot_until_it_has_ended(stop: str) -> None:
    release = threading.Event()

    def agent(payload: Any, context: StreamContext) -> str:
        context.sync_emit_token("x")
        if payload == "stuck":
            release.wait(10)
        return "done"

    async with bench(agent, slots=1, duration=5 if stop == "timeout" else 60) as made:
        stuck = await made.start("stuck")
        await made.emitted(stuck, 2)
        waiting = await made.start("next")
        await (made.runs.cancel(stuck, "enough") if stop == "cancel" else advance(5))
        ended = await made.ended(stuck)
        assert ended.types[:-1] == ["started", "token"]
        assert ended.run.status == ("cancelled" if stop == "cancel" else "failed")
        assert await made.status(waiting) == "accepted"
        assert made.free_slots == 0
        release.set()
        assert (await made.ended(waiting)).output == "done"
        assert await made.ended(stuck) == ended


@pytest.mark.usefixtures("impatient")
async def test_invoke_returns_at_its_limit_and_holds_the_slot_until_the_agent_has_ended() -> None:
    release = threading.Event()

    def agent(_payload: Any) -> None:
        release.wait(10)

    async with bench(agent, slots=1) as made:
        with pytest.raises(AgentTimedOut):
            await made.invoke(limit=0.02)
        assert made.free_slots == 0
        release.set()
        await wait_until(lambda: made.free_slots == 1)
