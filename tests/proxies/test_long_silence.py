"""Agents that say nothing for longer than proxies wait by default, behind the files of `config/deploy`."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import write_dockfile
from tests.proxies.caller import Caller, calling, of_agent
from tests.proxies.programs import PROGRAMS, Front, Program
from tests.proxies.stack import Replica, Stack, in_front, make_certificate
from tests.proxies.test_transports import WHERE
from tests.web.transports.readers import STREAMS, TRANSPORTS, OpenStream, invoking, until

SILENCE_SECONDS = 65.0  # longer than nginx waits for a response (60 s), and our HAProxy for a caller (50 s)
LIMIT_SECONDS = SILENCE_SECONDS + 45
AGENT = """
import asyncio

async def handle(payload, context):
    await context.emit_token("first")
    await asyncio.sleep(payload["seconds"])
    return "spoken"
"""
NGINX = next(program for program in PROGRAMS if program.name == "nginx")
UNSET = "nginx-default"  # without `proxy_read_timeout`


def without_time_out(nginx: Program) -> Program:
    def adapt(text: str, front: Front) -> str:
        text, count = re.subn(r"proxy_read_timeout .*", "", text)
        assert count == 1
        return nginx.adapt(text, front)

    return replace(nginx, adapt=adapt)


@contextmanager
def patient(folder: Path) -> Iterator[Stack]:
    """Run one replica behind proxies that wait for as long as they do in a deployment."""
    expose = {"streaming": "websocket", "trusted_proxies": ["127.0.0.1"]}
    with ExitStack() as stack:
        replica = Replica(write_dockfile(folder, AGENT, expose=expose))
        stack.callback(replica.end)
        replica.wait()
        programs = {program.name: program for program in PROGRAMS} | {UNSET: without_time_out(NGINX)}
        yield stack.enter_context(in_front(programs, folder, [replica], make_certificate(folder)))


async def read(reader: Any) -> list[bytes]:
    async with reader as stream:
        return of_agent([each async for each in stream])


async def read_resuming(caller: Caller, watch: OpenStream, run_id: str, query: dict[str, Any]) -> list[bytes]:
    """Read a run, and leave and come back before the agent's silence."""
    async with watch(caller, run_id, **query) as stream:
        begun = of_agent(await until(stream, "token"))
    return begun + await read(watch(caller, run_id, from_sequence=len(begun) + 1, **query))


@pytest.mark.long
async def test_long_silence_cuts_no_stream_and_no_invocation(tmp_path: Path) -> None:
    speaking, endless = {"seconds": SILENCE_SECONDS}, {"seconds": 1000}

    async def speak(caller: Caller, proxy: str) -> list[list[bytes]]:
        query = {"polling": {"wait": 60 if proxy != UNSET else 30}}
        run_id = await caller.start(speaking)
        readers = [
            read_resuming(caller, watch, run_id, query.get(transport, {}))
            for transport, watch in TRANSPORTS.items()
        ]
        own = [read(invoking(caller, transport, speaking)) for transport in STREAMS]
        read_runs, read_own = await asyncio.gather(asyncio.gather(*readers), asyncio.gather(*own))
        assert all(each == read_runs[0] for each in read_runs)
        return [*read_runs, *read_own]

    async def cancel(caller: Caller) -> list[list[bytes]]:
        run_id = await caller.start(endless)
        reading = [asyncio.create_task(read(watch(caller, run_id))) for watch in TRANSPORTS.values()]
        await asyncio.sleep(SILENCE_SECONDS)
        async with caller.client.delete(f"/runs/{run_id}") as response:
            assert response.status == 200
        return await asyncio.gather(*reading)

    async def status(caller: Caller) -> int:
        async with caller.client.post("/invoke", json=speaking) as response:
            return int(response.status)

    with patient(tmp_path) as stack:
        async with AsyncExitStack() as callers, asyncio.timeout(LIMIT_SECONDS):
            through = {
                (proxy, where): await callers.enter_async_context(calling(stack, proxy, tmp_path, **options))
                for proxy in stack.fronts
                for where, options in WHERE.items()
            }
            spoken, cancelled, statuses = await asyncio.gather(
                asyncio.gather(*(speak(caller, proxy) for (proxy, _), caller in through.items())),
                asyncio.gather(*(cancel(through[proxy, "http"]) for proxy in stack.fronts)),
                asyncio.gather(*(status(through[proxy, "http"]) for proxy in stack.fronts)),
            )
    assert {len(events) for read_here in spoken for events in read_here} == {3}
    assert {len(events) for read_here in cancelled for events in read_here} == {3}
    assert dict(zip(stack.fronts, statuses, strict=True)) == dict.fromkeys(stack.fronts, 200) | {UNSET: 504}
