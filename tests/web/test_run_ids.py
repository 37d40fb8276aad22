"""Run ids: generated, from the Dockfile's generator, from the caller."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import Serve
from tests.web import generators
from tests.web.helpers import error_of, shows_no_inside


def generated_by(name: str) -> dict[str, Any]:
    return {"id_generator": {"type": "custom", "handler": f"tests.web.generators:{name}"}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give generators a short timeout, and release the thread of one that exceeds it."""
    monkeypatch.setattr("dockrion.agents.id_generator._TIMEOUT", 0.1)
    generators.stuck.clear()
    yield
    generators.stuck.set()


async def test_ids_are_uuids_that_sort_by_time(serve: Serve) -> None:
    served = await serve()
    ids = [await served.start() for _ in range(50)]
    assert len(set(ids)) == 50
    assert {UUID(run_id).version for run_id in ids} == {7}
    stamps = [run_id[:13] for run_id in ids]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("plain", r"plain-\d+"),
        ("coroutine", r"coroutine-\d+"),
        ("with_request", r"tested-20\d\d"),
        ("coroutine_with_request", "async-tested"),
    ],
)
@pytest.mark.parametrize("path", ["/runs", "/invoke/stream"])
async def test_custom_generator_makes_the_run_ids(serve: Serve, name: str, pattern: str, path: str) -> None:
    served = await serve(streaming=generated_by(name))
    if path == "/runs":
        run_id = await served.start()
    else:
        async with served.stream() as reader:
            await reader.all()
        run_id = reader.run_id
    assert re.fullmatch(pattern, run_id)
    await served.finished(run_id)


@pytest.mark.parametrize("path", ["/runs", "/invoke/stream"])
@pytest.mark.parametrize("name", ["raises", "exits", "not_an_id", "not_text"])
async def test_failing_generator_is_an_internal_error(serve: Serve, name: str, path: str) -> None:
    served = await serve(streaming=generated_by(name))
    async with served.client.post(path, json={}) as response:
        body = await error_of(response, 500, "INTERNAL_ERROR")
    assert "generator" in body["error"]
    assert shows_no_inside(str(body))
    assert not served.backend._logs


@pytest.mark.usefixtures("impatient")
async def test_generator_that_never_returns_is_an_internal_error(serve: Serve) -> None:
    served = await serve(streaming=generated_by("never_returns"))
    async with served.client.post("/runs", json={}) as response:
        await error_of(response, 500, "INTERNAL_ERROR")


async def test_duplicate_id_of_a_generator_is_a_conflict(serve: Serve) -> None:
    served = await serve(streaming=generated_by("always_the_same"))
    assert await served.start() == "same"
    async with served.client.post("/runs", json={}) as response:
        body = await error_of(response, 409, "CONFLICT")
    assert body["details"]["events_url"] == "/runs/same/events"


async def test_stream_with_an_existing_id_is_a_conflict(serve: Serve) -> None:
    served = await serve(streaming=generated_by("always_the_same"))
    assert await served.start() == "same"
    async with served.client.post("/invoke/stream", json={}) as response:
        body = await error_of(response, 409, "CONFLICT")
    assert body["details"]["events_url"] == "/runs/same/events"


async def test_client_id_wins_over_the_generator(serve: Serve) -> None:
    served = await serve(streaming=generated_by("plain"))
    assert await served.start(run_id="mine") == "mine"


async def test_client_id_bypasses_a_failing_generator(serve: Serve) -> None:
    served = await serve(streaming=generated_by("raises"))
    assert await served.start(run_id="mine") == "mine"
