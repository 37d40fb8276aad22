"""Virtual users: each has one run at a time."""

import asyncio
import time
from http import HTTPStatus
from typing import Any

import msgspec

from dockrion.load import errors
from dockrion.load.client import Client, connected
from dockrion.load.measurements import Figures
from dockrion.load.options import Options
from dockrion.load.readers import Reader
from dockrion.load.verifier import compare

GRACE_SECONDS = 30.0
RUN_SECONDS = 7200.0  # twice what the service allows a run by default
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
        limit = asyncio.timeout(RUN_SECONDS)
        try:
            async with limit:
                match self._options.pattern:
                    case "invoke":
                        return await self._invoke(client)
                    case "stream":
                        return self._judge([await self._stream(client, number, began)])
                    case "runs":
                        return self._judge(await self._watch(client, number, began))
        except errors.EXPECTED as error:
            kind = f"a run is not over after {RUN_SECONDS:,g} s" if limit.expired() else errors.kind(error)
            self._figures.error(kind)
        return False

    async def _invoke(self, client: Client) -> bool:
        async with await client.post("invoke") as answer:
            if answer.status != HTTPStatus.OK:
                raise await errors.refused(answer)
            if answer.content_type != "application/json":
                raise errors.FailedError("the answer is no application/json")
            while chunk := await answer.content.readany():
                self._figures.received += len(chunk)
        return True

    async def _stream(self, client: Client, number: int, began: float) -> Reader:
        options = self._options
        slow = options.is_slow(number, 0)
        resumes = bool(options.reconnect or options.slow_readers)
        query = {"on_disconnect": "continue"} if resumes else {}
        asked_at = time.time()
        answer = await client.post("invoke", "stream", slow=slow, **query)
        run_id = answer.headers.get("X-Run-Id", "")
        reader = self._reader(client, f"run {run_id}", began, run_id if resumes else "", slow=slow)
        await reader.read(answer, asked_at)
        return reader

    async def _watch(self, client: Client, number: int, began: float) -> list[Reader]:
        run_id = await _create(client)
        readers = []
        async with asyncio.TaskGroup() as group:
            for place in range(self._options.readers):
                slow = self._options.is_slow(number, place)
                reader = self._reader(client, f"run {run_id}, reader {place + 1}", began, run_id, slow=slow)
                readers.append(reader)
                group.create_task(reader.read())
        return readers

    def _reader(self, client: Client, name: str, began: float, run_id: str, *, slow: bool) -> Reader:
        return Reader(
            client, self._figures, name, began, run_id, reconnect=self._options.reconnect, slow=slow
        )

    def _judge(self, readers: list[Reader]) -> bool:
        compare([reader.check for reader in readers])
        for reader in readers:
            if reader.failure:
                ended = (reader.check.terminal or b"").decode()
                self._figures.error(f"a run ended with {ended}{errors.code(reader.failure)}")
                return False
        return all(reader.check.terminal is not None for reader in readers)


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
