"""Runs that wait in the queue of all replicas."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from dockrion.errors import ServiceUnavailable
from dockrion.runs.agent import Call
from dockrion.runs.queued_runs import QueuedRuns
from tests.agents.harness import nothing_unretrieved
from tests.backends.conformance import new_run
from tests.support import wait_until


async def test_a_caller_leaves_before_its_run_cannot_be_enqueued() -> None:
    began, fail = asyncio.Event(), asyncio.Event()

    async def enqueue(*_: Any) -> None:
        began.set()
        await fail.wait()
        raise ServiceUnavailable("away")

    queue: Any = SimpleNamespace(enqueue=enqueue)
    async with nothing_unretrieved():
        queued = QueuedRuns(Mock(), queue, Mock(), 1)
        caller = asyncio.create_task(queued.enqueue(Call(None), new_run(), stop_for=None))
        await began.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        fail.set()
        await wait_until(lambda: not len(queued._tasks))
