"""What the memory backend says it stores, against the memory of a real process, and what it returns of it."""

import subprocess
import sys

import msgspec
import pytest

_MIB = 1024 * 1024
# Stores runs in a process of its own, whose memory nothing else changes, and prints what it takes.
_PROGRAM = """
import asyncio, gc, json, os, sys, time
from datetime import UTC, datetime

import msgspec

from dockrion import events, ids
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.events import Entry


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def event(run_id, number, kind="token", **fields):
    now = datetime.now(UTC)
    return Entry(number, kind, events.encode(kind, run_id, number, now, fields), now.timestamp())


async def store(backend, runs, length, finish, extra):
    for _ in range(runs):
        metadata = {"agent": "tested", "framework": "custom", **json.loads(extra)}
        run = Run(run_id=ids.uuid7(), status="running", created_at=datetime.now(UTC), metadata=metadata)
        await backend.create(run)
        run_id, write = run.run_id, msgspec.structs.replace
        await backend.append(
            write(run, last_sequence=length - 1),
            [event(run_id, n, content=f"word{n} ", finish_reason=None) for n in range(1, length)],
        )
        if finish:
            output = msgspec.Raw(b'{"text":"some words"}')
            fields = {"output": output, "latency_seconds": 0.1, "metadata": metadata}
            done = write(run, last_sequence=length, status="completed", output=output)
            await backend.append(done, [event(run_id, length, "complete", **fields)])


async def main(runs, length, finish, extra):
    now = [time.monotonic()]
    backend = MemoryBackend(max_events=10_000, ttl=3600, max_bytes=1 << 40, clock=lambda: now[0])
    await store(backend, 50, length, True, extra)
    gc.collect()
    stored, before = backend.stored_bytes, resident()
    await store(backend, runs, length, finish, extra)
    gc.collect()
    grown, weighed = resident() - before, backend.stored_bytes - stored
    now[0] += 3600
    backend._retention.expire()
    print(json.dumps({"grown": grown, "weighed": weighed, "left": resident() - before}))
    await backend.aclose()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "finished", sys.argv[4]))
"""


def measured(runs: int, length: int, status: str, metadata: str = "{}") -> dict[str, int]:
    command = [sys.executable, "-c", _PROGRAM, str(runs), str(length), status, metadata]
    done = subprocess.run(command, capture_output=True, check=True, timeout=180)
    return msgspec.json.decode(done.stdout, type=dict[str, int])


@pytest.mark.parametrize(
    ("runs", "length", "status"),
    [(8_000, 2, "finished"), (6_000, 20, "finished"), (20, 5_000, "finished"), (100, 800, "unfinished")],
)
def test_weight_is_what_the_process_grows_by(runs: int, length: int, status: str) -> None:
    found = measured(runs, length, status)
    assert found["grown"] > 10 * _MIB
    assert 0.75 < found["weighed"] / found["grown"] < 1.4


@pytest.mark.parametrize("value", ["[]", "{}", "1.5", '"ab"', '"é€"', "1000", '{"a":[]}'])
def test_values_that_take_more_memory_than_their_json_are_weighed(value: str) -> None:
    metadata = f'{{"values":[{",".join([value] * (3_500 // (len(value.encode()) + 1)))}]}}'
    found = measured(400, 2, "finished", metadata)
    assert found["grown"] > 4 * _MIB
    assert found["weighed"] > found["grown"] * 0.75


@pytest.mark.parametrize(("runs", "length"), [(6_000, 20), (40, 5_000)])
def test_memory_of_removed_runs_returns_to_the_operating_system(runs: int, length: int) -> None:
    found = measured(runs, length, "finished")
    assert found["grown"] > 25 * _MIB
    assert found["left"] < found["grown"] / 4
