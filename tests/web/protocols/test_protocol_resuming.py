"""Going on in the middle of a stream, and what a run comes to, on any replica, while it works and after."""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.events import Entry
from dockrion.web.protocols.resuming import encode
from tests import support
from tests.conftest import Serve
from tests.protocols.tiny import TinyEncoder, TinyState
from tests.support import Served, wait_until
from tests.web.credentials import public_key
from tests.web.helpers import Waits, error_of
from tests.web.protocols.test_protocol_streams import FIRST, LAST, OPEN, WHOLE
from tests.web.protocols.tiny import TINY, read, streams_open

pytestmark = pytest.mark.usefixtures("tiny")
TOKENS = 1200  # several pages


async def replicas(serve: Serve, agent: Any, **sections: Any) -> tuple[Served, Served]:
    """Return two services on one backend; in memory, the same one twice."""
    one = await serve(agent, expose=TINY, **sections)
    return one, (await serve(agent, expose=TINY, **sections) if support.SHARED_REDIS else one)


@pytest.mark.usefixtures("every_backend")
async def test_stream_cut_at_any_frame_goes_on_at_another_replica(serve: Serve) -> None:
    one, other = await replicas(serve, agent := Waits())
    run_id = await one.start()
    frames = [part + b"\n\n" for part in WHOLE.split(b"\n\n")[:-1]]
    await until_stored(one, run_id, 2)
    reading = [asyncio.create_task(read(other, run_id, last=number)) for number in range(3)]
    await streams_open(other, len(reading))
    agent.go.set()
    for number, body in enumerate(await asyncio.gather(*reading)):
        assert body == b"".join(frames[number:])
    for number in range(len(frames) + 1):
        assert await read(other, run_id, last=number) == b"".join(frames[number:])


async def until_stored(served: Served, run_id: str, sequence: int) -> None:
    """Wait until a run has so many events."""
    async with served.events(run_id) as reader:
        async for message in reader:
            if message.id == f"{sequence}":
                return


async def test_long_log_goes_on_within_its_pages(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        for number in range(TOKENS):
            await context.emit_token(f"{number}")

    served = await serve(agent, expose=TINY)
    run_id = await served.start()
    await served.finished(run_id)
    whole = await read(served, run_id)
    frames = [part + b"\n\n" for part in whole.split(b"\n\n")[:-1]]
    assert len(frames) == TOKENS + 3
    for number in (1, 510, 511, 512, 513, 1024, TOKENS, TOKENS + 2):
        assert await read(served, run_id, last=number) == b"".join(frames[number:])


@pytest.mark.usefixtures("every_backend")
async def test_state_is_that_of_the_events_so_far_or_of_all(serve: Serve) -> None:
    one, other = await replicas(serve, agent := Waits())
    run_id = await one.start()
    await until_stored(one, run_id, 2)
    assert await state(other, run_id, now="") == {
        "frames": 2,
        "opened": True,
        "ended": False,
        "origin": 0,
        "open_texts": [],
    }
    waiting = asyncio.create_task(state(other, run_id))
    await wait_until(lambda: other.service.invocations._deadlines)
    agent.go.set()
    whole = {"frames": 5, "opened": False, "ended": False, "origin": 0, "open_texts": []}
    assert await waiting == whole
    assert await state(other, run_id) == await state(one, run_id, now="") == whole


async def state(served: Served, run_id: str, **query: str) -> dict[str, Any]:
    async with served.client.get(f"/tiny/{run_id}/state", params=query) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def test_state_of_a_stream_that_ends_before_its_run(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.ask("Send it?")

    served = await serve(agent, expose=TINY)
    run_id = await served.start()
    assert (await state(served, run_id))["ended"]
    assert (await state(served, run_id, now=""))["ended"]
    async with served.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("why", "status", "code"),
    [("draining", 503, "SERVICE_UNAVAILABLE"), ("expired", 401, "AUTH_ERROR")],
)
async def test_wait_for_the_end_ends_with_the_service_and_the_credential(
    serve: Serve, tmp_path: Path, why: str, status: int, code: str
) -> None:
    async with public_key() as mode:
        served = await serve(agent := Waits(), expose=TINY, **mode.sections(tmp_path))
        headers = mode.key("owner")
        async with served.client.post("/runs", json={}, headers=headers) as response:
            run_id = (await response.json())["run_id"]
        path = f"/tiny/{run_id}/state"
        waiting = asyncio.create_task(served.client.get(path, headers=headers))
        await wait_until(lambda: served.service.invocations._deadlines)
        served.service.runs.draining = why == "draining"
        await served.service.invocations.end(0)
        await error_of(await waiting, status, code)
        assert not agent.stopped
        agent.go.set()
        await wait_until(lambda: agent.ended)


@pytest.mark.usefixtures("every_backend")
async def test_run_keeps_what_its_protocol_needs_and_shows_it_to_nobody(serve: Serve) -> None:
    one, other = await replicas(serve, agent := Waits())
    agent.go.set()
    async with one.client.post("/tiny", json={"text": "kept"}) as response:
        run_id = response.headers["X-Run-Id"]
        assert (await response.read()).endswith(LAST + WHOLE[len(OPEN + FIRST + LAST) :])
    kept = await other.service.backend.get(run_id)
    assert kept.protocol == {"text": "kept"}
    for path in (f"/runs/{run_id}", "/runs"):
        async with other.client.get(path) as response:
            assert "protocol" not in await response.text()


@pytest.mark.parametrize(
    "path",
    ["/v1/responses/resp_{}", "/v1/responses/resp_{}?stream=true&starting_after=3", "/ag-ui/runs/{}"],
)
async def test_few_logs_are_encoded_from_their_beginning_at_a_time(serve: Serve, path: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("Hello")

    served = await serve(agent, expose={"protocols": ["openai", "ag-ui"]})
    run_id = await served.start()
    await served.finished(run_id)
    replays = served.service.replays
    held = 0
    while not replays.locked():
        await replays.acquire()
        held += 1

    async def read() -> int:
        async with served.client.get(path.format(run_id)) as response:
            await response.read()
            return response.status

    reading = asyncio.create_task(read())
    await wait_until(lambda: replays._waiters)
    for _ in range(held):
        replays.release()
    assert await reading == 200
    assert replays._value == held


def test_events_that_are_nested_deeply_are_encoded_on_any_stack() -> None:
    content, limit = b"", sys.getrecursionlimit()
    for depth in range(limit, 0, -1):  # as deep as can be stored where the stack has few frames
        content = b"[" * depth + b"]" * depth
        with suppress(RecursionError):
            msgspec.json.decode(content)
            break
    token = Entry(1, "token", b'{"content":%b}' % content, time.time())

    def on_top_of(frames: int) -> bytes:
        if frames:
            return on_top_of(frames - 1)
        return encode(TinyEncoder(), TinyState(), (token,))[0]

    assert content in on_top_of(50)
    assert sys.getrecursionlimit() == limit
