"""Asking from everywhere that agent code can be, and answering."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends.run_log import WaitingFor
from dockrion.runs.session import RunSession
from tests.agents.harness import Bench
from tests.support import TIMEOUT_SECONDS

BOOLEAN = {"type": "boolean"}


async def waiting(made: Bench, run_id: str, prompt: str | None = None) -> WaitingFor:
    """Wait until a run waits for the answer to a question, and return that."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            found = (await made.backend.get(run_id)).waiting_for
            if found is not None and prompt in (None, found.prompt):
                return found
            await asyncio.sleep(0.001)


def session_of(made: Bench, run_id: str) -> RunSession:
    run = made.runs.find(run_id)
    assert run is not None
    assert run.session is not None
    return run.session


async def answer(made: Bench, run_id: str, value: Any, prompt: str | None = None) -> None:
    """Answer the oldest question of a run, once that has this prompt."""
    question = await waiting(made, run_id, prompt)
    await session_of(made, run_id).answer(question.request_id, value, "ann")


async def in_async_code(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await context.ask(*arguments, **more)


async def in_a_thread(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await asyncio.to_thread(context.sync_ask, *arguments, **more)


async def on_another_loop(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await asyncio.to_thread(lambda: asyncio.run(context.ask(*arguments, **more)))


everywhere = pytest.mark.parametrize("ask", [in_async_code, in_a_thread, on_another_loop])
Ask = Callable[..., Any]
