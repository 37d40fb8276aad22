"""Every transport through every proxy, with the configurations of `config/deploy`."""

import asyncio
import io
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.proxies.caller import ADDRESS, PREFIX, Caller, calling, of_agent
from tests.proxies.programs import PROGRAMS, SILENCE_SECONDS
from tests.proxies.stack import Stack
from tests.support import TIMEOUT_SECONDS, least, wait_until
from tests.web.transports.readers import (
    STREAMS,
    TRANSPORTS,
    Received,
    Refused,
    all_of,
    invoking,
    until,
)

NAMES = [program.name for program in PROGRAMS]
# A poll must not wait for longer than a proxy does.
SHORT = {name: {"wait": 1} if name == "polling" else {} for name in TRANSPORTS}
WHERE: dict[str, dict[str, Any]] = {"http": {}, "https": {"tls": True}, "prefix": {"prefix": PREFIX}}
CUT = aiohttp.ClientError, Refused
HELD_BACK_SECONDS = 0.2  # by HAProxy without its option http-no-delay
MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("proxy", NAMES)
async def test_events_arrive_while_the_agent_works(
    stack: Stack, tmp_path: Path, proxy: str, where: str
) -> None:
    async with calling(stack, proxy, tmp_path, **WHERE[where]) as caller:
        await check_live(caller)


async def check_live(caller: Caller) -> None:
    """Read a run, and runs of one's own, over every transport while the agent works."""
    async with AsyncExitStack() as readers:
        payload = caller.payload("first", "second", size=10)
        run_id = await caller.start(payload)
        watching = [watch(caller, run_id, **SHORT[name]) for name, watch in TRANSPORTS.items()]
        watching += [invoking(caller, transport, payload) for transport in STREAMS]
        streams = [await readers.enter_async_context(each) for each in watching]
        begun = await asyncio.gather(*(until(stream, "token") for stream in streams))
        caller.go_on("first")
        more = await asyncio.gather(*(until(stream, "token") for stream in streams))
        caller.go_on("second")
        rest = await asyncio.gather(*map(all_of, streams))
    received = [of_agent(a + b + c) for a, b, c in zip(begun, more, rest, strict=True)]
    assert all(each == received[0] for each in received[: len(TRANSPORTS)])
    assert {len(each) for each in received} == {4}


@pytest.mark.parametrize("proxy", NAMES)
async def test_small_events_are_not_held_back(stack: Stack, tmp_path: Path, proxy: str) -> None:
    async def seconds() -> float:
        began = time.monotonic()
        async with invoking(caller, "sse", caller.payload("never")) as stream:
            await until(stream, "token")
            return time.monotonic() - began

    async with calling(stack, proxy, tmp_path) as caller:
        assert await least(seconds, HELD_BACK_SECONDS) < HELD_BACK_SECONDS


@pytest.mark.parametrize("proxy", NAMES)
async def test_the_agent_stops_when_its_caller_leaves(stack: Stack, tmp_path: Path, proxy: str) -> None:
    async def leave(transport: str) -> None:
        async with (
            calling(stack, proxy, tmp_path) as caller,
            invoking(caller, transport, caller.payload("never")) as stream,
        ):
            await until(stream, "token")
        await wait_until(lambda: caller.has_cancelled)

    async def leave_unanswered() -> float:
        async with calling(stack, proxy, tmp_path) as caller:
            asking = asyncio.create_task(caller.invoke(caller.payload("never")))
            await wait_until(lambda: caller.has_begun)
            asking.cancel()
            await asyncio.wait((asking,))
            left = time.monotonic()
            await wait_until(lambda: caller.has_cancelled)
            return time.monotonic() - left

    await asyncio.gather(*map(leave, STREAMS))
    time_out = SILENCE_SECONDS - 1
    assert await least(leave_unanswered, time_out) < time_out, "the agent stops with the proxy's time-out"


async def test_heartbeats_keep_silent_streams_open(stack: Stack, tmp_path: Path) -> None:
    heard = asyncio.Barrier(len(NAMES) * (len(STREAMS) - 1))

    async def listen(caller: Caller, run_id: str, transport: str) -> list[Received]:
        async with TRANSPORTS[transport](caller, run_id) as stream:
            begun = await until(stream, "token")
            if transport != "websocket":  # its heartbeats are pings, which the client answers by itself
                for _ in range(SILENCE_SECONDS + 1):  # one a second
                    begun += await until(stream, "heartbeat")
                await heard.wait()
                first.go_on("word")
            return begun + await all_of(stream)

    async with AsyncExitStack() as callers:
        (first, *_) = all_callers = [
            await callers.enter_async_context(calling(stack, name, tmp_path)) for name in NAMES
        ]
        run_id = await first.start(first.payload("word"))
        received = await asyncio.gather(
            *(listen(caller, run_id, transport) for caller in all_callers for transport in STREAMS)
        )
    assert all(of_agent(each) == of_agent(received[0]) for each in received)
    assert of_agent(received[0])


async def follow(
    caller: Caller, run_id: str, transport: str, begun: asyncio.Barrier
) -> tuple[list[bytes], int]:
    """Read a run to its end, resuming whenever the stream is cut, and count the cuts."""
    events: list[bytes] = []
    for cuts in range(100):
        query = {"from_sequence": len(events) + 1, **SHORT[transport]}
        with suppress(*CUT):
            async with TRANSPORTS[transport](caller, run_id, **query) as stream:
                async for each in stream:
                    events += of_agent([each])
                    if each.type == "token" and not cuts:
                        await begun.wait()
                    if each.type == "complete":
                        return events, cuts
        await asyncio.sleep(0.1)
    raise AssertionError(f"{transport} of {caller.client} is cut again and again")


async def test_streams_of_a_lost_replica_are_resumed_on_the_other(stack: Stack, tmp_path: Path) -> None:
    lost, kept = stack.replicas
    readers = [(name, transport) for name in NAMES for transport in TRANSPORTS] * 2
    begun = asyncio.Barrier(len(readers) + 1)
    async with AsyncExitStack() as callers, asyncio.timeout(TIMEOUT_SECONDS * 2):
        (first, *_) = through = [
            await callers.enter_async_context(calling(stack, name, tmp_path)) for name, _ in readers
        ]
        payload = first.payload("word", size=10)
        async with first.session.post(f"{kept.url}/runs", json=payload) as response:
            run_id = (await response.json())["run_id"]
        following = [
            asyncio.create_task(follow(caller, run_id, transport, begun))
            for caller, (_, transport) in zip(through, readers, strict=True)
        ]
        await begun.wait()
        lost.kill()
        try:
            first.go_on("word")
            followed = await asyncio.gather(*following)
        finally:
            lost.start()
            await asyncio.to_thread(lost.wait)
    assert all(events == followed[0][0] for events, _ in followed)
    cuts = dict.fromkeys(NAMES, 0)
    for (name, _), (_, count) in zip(readers, followed, strict=True):
        cuts[name] += count
    assert all(cuts.values())


@pytest.mark.parametrize("proxy", NAMES)
async def test_bodies_up_to_the_limit_of_the_service_pass(stack: Stack, tmp_path: Path, proxy: str) -> None:
    async with calling(stack, proxy, tmp_path) as caller:
        padding = "x" * 9 * MEBIBYTE
        async with send(caller, caller.payload(size=MEBIBYTE, padding=padding)) as response:
            assert len((await response.json())["output"]) == MEBIBYTE
        async with send(caller, {"padding": f"{padding}{padding}"[: 10 * MEBIBYTE]}) as response:
            assert (response.status, (await response.json())["code"]) == (413, "PAYLOAD_TOO_LARGE")


def send(caller: Caller, payload: Any) -> Any:
    """Send a large payload."""
    body = io.BytesIO(msgspec.json.encode(payload))
    return caller.client.post("/invoke", data=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("proxy", NAMES)
async def test_the_service_knows_its_caller(stack: Stack, tmp_path: Path, proxy: str, where: str) -> None:
    async with calling(stack, proxy, tmp_path, **WHERE[where]) as caller:
        for origin, status in {caller.origin: 200, "http://made.up": 403}.items():
            headers = {"Origin": origin, "X-Request-ID": caller.folder.name + str(status)}
            async with caller.client.post("/invoke", json=caller.payload(), headers=headers) as response:
                assert response.status == status
            lines = [line for replica in stack.replicas for line in replica.requests()]
            (line,) = [line for line in lines if line["request_id"] == headers["X-Request-ID"]]
            assert line["client"] == ADDRESS
