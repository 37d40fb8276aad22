"""A replica ends, as in a deployment, while callers and the other replica go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import WSCloseCode

from tests.proxies.caller import Caller, calling
from tests.proxies.programs import PROGRAMS
from tests.proxies.stack import Stack
from tests.proxies.test_transports import follow
from tests.support import TIMEOUT_SECONDS, wait_until
from tests.web.transports.readers import STREAMS, TRANSPORTS, Refused, all_of, invoking

NAMES = [program.name for program in PROGRAMS]
DRAINING = {503, WSCloseCode.GOING_AWAY}
NOTICED = 15  # so many requests in a row are served once a proxy knows that a replica ends


class Requests:
    """Requests that a caller sends all the time.

    Attributes:
        in_a_row: How many have been served since one was refused.
        refusals: The statuses or close codes of those that were refused.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self.refusals: list[int] = []

    @asynccontextmanager
    async def sent(self, caller: Caller) -> AsyncIterator[None]:
        """Send them until the block ends, and wait until they are served."""
        ended = asyncio.Event()

        async def again_and_again(pause: float, status: Callable[[Caller], Awaitable[int]]) -> None:
            while not ended.is_set():
                if (code := await status(caller)) < 300:
                    self.in_a_row += 1
                else:
                    self.in_a_row = 0
                    self.refusals.append(code)
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as group:
            group.create_task(again_and_again(1, _ready))
            group.create_task(again_and_again(0.25, _run))
            for transport in STREAMS:
                group.create_task(again_and_again(0.25, partial(_stream, transport)))
            try:
                yield
            finally:
                ended.set()


async def _ready(caller: Caller) -> int:
    """Send what a health check does."""
    async with caller.client.get("/ready") as response:
        return int(response.status)


async def _run(caller: Caller) -> int:
    async with caller.client.post("/runs", json=caller.payload()) as response:
        return int(response.status)


async def _stream(transport: str, caller: Caller) -> int:
    try:
        async with invoking(caller, transport, caller.payload()) as stream:
            assert (await all_of(stream))[-1].type == "complete"
    except Refused as error:
        return error.code
    return 200


async def start(caller: Caller, url: str, word: str) -> str:
    """Start a run at a replica."""
    async with caller.session.post(f"{url}/runs", json=caller.payload(word, size=10)) as response:
        return str((await response.json())["run_id"])


async def test_requests_go_elsewhere_while_a_replica_ends(stack: Stack, tmp_path: Path) -> None:
    ending, other = stack.replicas
    readers = [(name, transport) for name in NAMES for transport in TRANSPORTS]
    begun = asyncio.Barrier(2 * len(readers) + 1)
    sent = {name: Requests() for name in NAMES}
    async with AsyncExitStack() as callers, asyncio.timeout(TIMEOUT_SECONDS * 3):
        through = {name: await callers.enter_async_context(calling(stack, name, tmp_path)) for name in NAMES}
        one = through[NAMES[0]]
        runs = [await start(one, replica.url, word) for replica, word in ((ending, "its"), (other, "others"))]
        following = [
            asyncio.create_task(follow(through[name], run_id, transport, begun))
            for run_id in runs
            for name, transport in readers
        ]
        await begun.wait()
        try:
            async with AsyncExitStack() as sending:
                for name, caller in through.items():
                    await sending.enter_async_context(sent[name].sent(caller))
                ending.signal()
                await wait_until(lambda: all(each.in_a_row > NOTICED for each in sent.values()))
                refusals = {name: set(each.refusals) for name, each in sent.items()}
                counts = {name: each.in_a_row for name, each in sent.items()}
                one.go_on("its")
                assert await asyncio.to_thread(ending.exit_code) == 0
                await wait_until(
                    lambda: all(each.in_a_row > counts[name] + 10 for name, each in sent.items())
                )
            one.go_on("others")
            followed = await asyncio.gather(*following)
        finally:
            ending.kill()
            ending.start()
            await asyncio.to_thread(ending.wait)
    assert set().union(*refusals.values()) <= DRAINING
    its, others = followed[: len(readers)], followed[len(readers) :]
    for read in (its, others):
        assert all(events == read[0][0] for events, _ in read)
    assert not any(cuts for _, cuts in its)
