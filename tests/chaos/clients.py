"""The clients of a service under chaos: they create, read and cancel runs."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import aiohttp

from tests.chaos.readers import STREAM, TROUBLE, Reader, Shared, Tracked
from tests.chaos.service import Replica

DISCONNECTED = "the caller disconnected"
_CREATORS = 5
_MOST_READERS = 4
_POST = aiohttp.ClientTimeout(total=8, sock_connect=2)
_INVOKE = aiohttp.ClientTimeout(total=60, sock_connect=2)
_DELETE = aiohttp.ClientTimeout(total=14, sock_connect=2)


class Clients:
    """All the clients.

    Args:
        shared: What all clients share.

    Attributes:
        runs: The runs that were created, as far as the clients know.
        repeated_blindly: The numbers of the requests that were sent again without a key or an id.
    """

    def __init__(self, shared: Shared) -> None:
        self.runs: dict[str, Tracked] = {}
        self.repeated_blindly: set[int] = set()
        self._shared = shared
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0

    async def run(self, over: asyncio.Event) -> None:
        """Create runs, and start their readers, until the chaos is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_CREATORS):
                group.create_task(self._create_runs(over))

    async def settle(self, timeout: float) -> None:
        """Wait until all readers and cancellations are done."""
        _, pending = await asyncio.wait(self._tasks, timeout=timeout)
        for task in pending:
            self._shared.failures.append(f"does not end: {task.get_name()}")
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def cancel(self) -> None:
        """Stop all readers and cancellations."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _create_runs(self, over: asyncio.Event) -> None:
        random = self._shared.random
        while not over.is_set():
            tokens = random.choice((random.randint(1, 10), random.randint(1, 400)))
            pause = random.choice((0.0, random.uniform(0, 4) / tokens))
            self._requests += 1
            payload = {
                "tokens": tokens,
                "pause": pause,
                "threaded": random.random() < 0.2,
                "request": self._requests,
            }
            kind = random.random()
            if kind < 0.2:
                await self._stream(payload)
            elif kind < 0.3:
                self._start(self._invoke(payload), f"invocation {self._requests}")
            elif (run := await self._post(payload, over)) is not None:
                self._add_clients(Reader(self._shared, run, 0))
            await self._shared.pause(1)

    async def _post(self, payload: dict[str, Any], over: asyncio.Event) -> Tracked | None:
        """Create a run; where it has an id or a key, repeat the request until there is a response."""
        number = payload["request"]
        named, keyed = self._shared.random.random() < 0.5, self._shared.random.random() < 0.5
        query = {"run_id": f"chaos-{number}"} if named else {}
        headers = {"Idempotency-Key": f"chaos-{number}"} if keyed else {}
        tried: set[Replica] = set()
        while not over.is_set():
            replica = self._shared.replica()
            again = bool(tried)
            if again and not named and not keyed:
                self.repeated_blindly.add(number)
            tried.add(replica)
            url = f"{replica.process.url}/runs"
            try:
                async with self._shared.session.post(
                    url, json=payload, params=query, headers=headers, timeout=_POST
                ) as response:
                    body = await response.json(content_type=None)
            except TROUBLE:
                self._shared.counts["posts without a response"] += 1
                if not named and not keyed:
                    return None
            else:
                if response.status == 202:
                    if again:
                        replayed = response.headers.get("Idempotency-Replayed", "false")
                        self._shared.counts[f"posts that were repeated: replayed {replayed}"] += 1
                    return Tracked(body["run_id"], payload, accepted=not again, owners=tried)
                self._shared.refused(response)
            await self._shared.pause()
        return None

    async def _stream(self, payload: dict[str, Any]) -> None:
        """Create a run with `POST /invoke/stream`, and read it from then on."""
        replica = self._shared.replica()
        cancels = self._shared.random.random() < 0.3
        query = {} if cancels else {"on_disconnect": "continue"}
        url = f"{replica.process.url}/invoke/stream"
        reader = None
        try:
            async with self._shared.session.post(url, json=payload, params=query, timeout=STREAM) as response:
                if response.status != 200:
                    self._shared.refused(response)
                    return
                name = response.headers["X-Run-Id"]
                run = Tracked(name, payload, accepted=True, owners={replica})
                if cancels:
                    run.reasons.add(DISCONNECTED)
                reader = Reader(self._shared, run, 0)
                with suppress(*TROUBLE):
                    await reader.consume(response, replica)
        except TROUBLE:
            self._shared.counts["posts without a response"] += 1
        if reader is not None:
            self._add_clients(reader)

    async def _invoke(self, payload: dict[str, Any]) -> None:
        """Let the agent work with `POST /invoke`; where there is a key, repeat that until it is answered."""
        shared, number = self._shared, payload["request"]
        keyed = shared.random.random() < 0.5
        headers = {"Idempotency-Key": f"chaos-{number}"} if keyed else {}
        while True:
            url = f"{shared.replica().process.url}/invoke"
            try:
                async with shared.session.post(
                    url, json=payload, headers=headers, timeout=_INVOKE
                ) as response:
                    body = await response.json(content_type=None)
            except TROUBLE:
                shared.counts["invocations without a response"] += 1
            else:
                if response.status == 200:
                    shared.counts["invocations answered"] += 1
                    if body["output"] != {"tokens": payload["tokens"], "request": number}:
                        shared.failures.append(f"invocation {number}: {body}")
                    return
                if response.status == 500 and body["code"] == "WORKER_LOST" and not shared.retries:
                    shared.counts["invocations lost"] += 1
                    return
                shared.refused(response, f"{body}")
                if response.status != 503:
                    return
            if not keyed:
                return
            await shared.pause()

    def _add_clients(self, reader: Reader) -> None:
        """Start the readers of a run, and perhaps a cancellation."""
        run, random = reader.run, self._shared.random
        self._shared.counts["runs"] += 1
        self.runs[run.run_id] = run
        self._start(reader.read(), f"the first reader of {run.run_id}")
        for number in range(random.randrange(_MOST_READERS)):
            self._start(self._join(run), f"later reader {number} of {run.run_id}")
        if random.random() < 0.2:
            self._start(self._cancel(run), f"cancelling {run.run_id}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.add(asyncio.create_task(work, name=name))

    async def _join(self, run: Tracked) -> None:
        """Read a run from a random time on and after any event that was seen, perhaps not to its end."""
        random = self._shared.random
        await asyncio.sleep(random.choice((0.0, random.uniform(0, 2), random.uniform(0, 5))))
        position = random.choice((0, *run.log))
        most_events = random.randint(1, 100) if random.random() < 0.2 else float("inf")
        await Reader(self._shared, run, position, most_events).read()

    async def _cancel(self, run: Tracked) -> None:
        shared = self._shared
        await shared.pause(1.5)
        reason = f"reason {shared.random.randrange(1000)}"
        run.reasons.add(reason)
        while True:
            url = f"{shared.replica().process.url}/runs/{run.run_id}"
            try:
                async with shared.session.delete(url, params={"reason": reason}, timeout=_DELETE) as response:
                    pass
            except TROUBLE:
                shared.counts["cancels without a response"] += 1
                await shared.pause()
                continue
            match response.status:
                case 200:
                    shared.counts["cancels"] += 1
                    run.cancelled = True
                    return
                case 400:
                    shared.counts["cancels too late"] += 1
                    return
                case 404:
                    shared.fail(run, "DELETE: 404")
                    return
            shared.refused(response)
            await shared.pause()
