"""Every type of event, emitted in each possible way, is the same for readers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents.harness import Ended, ran
from tests.every_event import EVENTS, USAGE, emitting, sync_emitting, yielding
from tests.runs.test_ingest import END, pushed_run


def check(ended: Ended) -> None:
    assert ended.own == EVENTS
    assert [list(own) for own in ended.own] == [list(event) for event in EVENTS]
    assert ended.terminal["metadata"]["usage"] == USAGE
    assert ended.run.metadata["usage"] == USAGE


def sync_yielding(_payload: Any) -> Iterator[dict[str, Any]]:
    yield from EVENTS


@pytest.mark.parametrize("agent", [emitting, sync_emitting, yielding, sync_yielding])
async def test_agents_of_every_kind_emit_the_same(agent: Any) -> None:
    check(await ran(agent))


async def test_pushed_events_are_the_same() -> None:
    async with pushed_run() as run:
        await run.push([*EVENTS, END])
        check(await run.bench.ended(run.run_id))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
async def test_each_passes_a_list_with_its_type_alone(event: dict[str, Any]) -> None:
    ended = await ran(emitting, allowed=[event["type"]])
    assert ended.own == [each for each in EVENTS if each["type"] == event["type"]]
