"""Virtual users: each has one run at a time."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from dockrion.load import errors
from dockrion.load.client import Client, connected
from dockrion.load.figures import Figures
from dockrion.load.options import Options
from dockrion.load.readers import Reader
from dockrion.load.verify import compare

GRACE_SECONDS = 30.0
_PAUSE_AFTER_ERROR = 0.1


class Users:
    """All users of a process.

    Args:
        options: What they do.
        figures: Where it is counted.
    """

    def __init__(self, options: Options, figures: Figures) -> None:
        self._options = options
        self._figures = figures
        self._ends_at = time.monotonic() + (options.duration or 0)

    async def work(self, stop: asyncio.Event) -> None:
        """Let them work until all is done, or leave where they are when they shall stop."""
        async with connected(self._options) as client:
            users = asyncio.create_task(self._all(client))
            stopped = asyncio.create_task(stop.wait())
            patience = self._options.duration and self._options.duration + GRACE_SECONDS
            try:
                await asyncio.wait([users, stopped], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not users.done() and not stop.is_set():
                    for _ in range(self._figures.started - self._figures.ended):
                        self._figures.error(f"not finished {GRACE_SECONDS:g} s after the last run began")
            finally:
                users.cancel()
                stopped.cancel()
                await asyncio.wait([users, stopped])
            if not users.cancelled():
                users.result()

    async def _all(self, client: Client) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.concurrency):
                group.create_task(self._user(client, number))

    async def _user(self, client: Client, number: int) -> None:
        while self._more():
            self._figures.started += 1
            began = time.perf_counter()
            well = await self._run(client, number, began)
            self._figures.ended += 1
            if well:
                self._figures.succeeded += 1
                self._figures.whole.add(time.perf_counter() - began)
            else:
                await asyncio.sleep(_PAUSE_AFTER_ERROR)

    def _more(self) -> bool:
        if self._options.runs is not None:
            return self._figures.started < self._options.runs
        return time.monotonic() < self._ends_at

    async def _run(self, client: Client, number: int, began: float) -> bool:
        """Have one run, and return whether it ended well."""
        run = f"user {self._options.first + number}, run {self._figures.started}"
        try:
            if self._options.pattern == "invoke":
                await self._invoke(client)
                return True
            readers = await self._read(client, partial(self._reader, client, run, number, began))
        except errors.EXPECTED as error:
            self._figures.error(errors.kind(error))
            return False
        compare([reader.check for reader in readers])
        for reader in readers:
            if reader.failure:
                ended = (reader.check.terminal or b"").decode()
                self._figures.error(f"a run ended with {ended}{errors.code(reader.failure)}")
                return False
        return all(reader.check.terminal is not None for reader in readers)

    async def _read(self, client: Client, make: Callable[[int, str], Reader]) -> list[Reader]:
        """Begin a run, and let its readers read it."""
        if self._options.pattern == "stream":
            reader = make(0, "")
            await self._stream(client, reader)
            return [reader]
        run_id = await _create(client)
        readers = [make(place, run_id) for place in range(self._options.readers)]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read())
        return readers

    def _reader(self, client: Client, run: str, number: int, began: float, place: int, run_id: str) -> Reader:
        return Reader(
            client,
            self._figures,
            run if self._options.readers == 1 else f"{run}, reader {place + 1}",
            began,
            run_id,
            reconnect=self._options.reconnect,
            slow=self._options.is_slow(number, place),
        )

    async def _invoke(self, client: Client) -> None:
        answer = await client.post("invoke")
        async with answer:
            if answer.status != HTTPStatus.OK:
                raise await errors.refused(answer)
            while chunk := await answer.content.readany():
                self._figures.received += len(chunk)

    async def _stream(self, client: Client, reader: Reader) -> None:
        options = self._options
        resumes = options.reconnect or options.slow_readers
        query = {"on_disconnect": "continue"} if resumes else {}
        asked_at = time.time()
        answer = await client.post("invoke", "stream", slow=reader.slow, **query)
        reader.run_id = answer.headers.get("X-Run-Id", "") if resumes else ""
        await reader.read(answer, asked_at)


async def _create(client: Client) -> str:
    async with await client.post("runs") as answer:
        if answer.status != HTTPStatus.ACCEPTED:
            raise await errors.refused(answer)
        try:
            told: Any = msgspec.json.decode(await errors.body(answer))
            run_id, events_url = told["run_id"], told["events_url"]
        except (msgspec.DecodeError, TypeError, KeyError):
            raise errors.FailedError("the answer to POST /runs names no run") from None
    if not (isinstance(run_id, str) and run_id):
        raise errors.FailedError("the answer to POST /runs names no run")
    if events_url is None:
        raise errors.FailedError("the service streams no events: events_url is null")
    return run_id
