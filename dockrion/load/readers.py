"""One reader of one run, over all its connections."""

import asyncio
import random
import time
from http import HTTPStatus

import aiohttp

from dockrion.load import errors, frames
from dockrion.load.client import Client
from dockrion.load.measurements import Figures
from dockrion.load.verifier import Check

_PAUSE = 0.05
_SLOW_PIECE = 4096
_MOST_IN_VAIN = 5  # connections in a row without a new event, and without a reason
_FAILURES = (b"error", b"cancelled")
_DATA = b"\ndata: "


class Reader:
    """Reads a run.

    Args:
        client: Asks the service.
        figures: Where it is counted.
        name: Who this is, for words.
        began: When the run was asked for, by `time.perf_counter`.
        run_id: The run, empty where there is no coming back.
        reconnect: How likely it leaves after some events.
        slow: Whether it reads slowly.

    Attributes:
        check: What it has seen.
        failure: The data of the terminal event, where that is none of success.
    """

    def __init__(
        self,
        client: Client,
        figures: Figures,
        name: str,
        began: float,
        run_id: str,
        *,
        reconnect: float,
        slow: bool,
    ) -> None:
        self.check = Check(figures, name, slow=slow)
        self.failure = b""
        self._client = client
        self._figures = figures
        self._began = began
        self._run_id = run_id
        self._slow = slow
        self._reconnect = reconnect
        self._asked_at = 0.0
        self._last = 0.0
        self._over = False  # nothing follows
        self._timed_out = False  # this connection ended because its time was over
        self._broke = False  # this connection ended before the answer did

    async def read(self, first: aiohttp.ClientResponse | None = None, asked_at: float = 0.0) -> None:
        """Read to the end.

        Args:
            first: A connection that is open already.
            asked_at: When that was asked for, by `time.time`.
        """
        self._asked_at = asked_at
        complete = False
        try:
            await self._connections(first)
            complete = True
        except errors.EXPECTED as error:
            self._figures.error(errors.kind(error))
        self.check.end(complete=complete)

    async def _connections(self, answer: aiohttp.ClientResponse | None) -> None:
        in_vain = 0
        while not self._over and in_vain < _MOST_IN_VAIN:
            if in_vain:
                await asyncio.sleep(_PAUSE * in_vain)
            before = self.check.position
            await self._connection(answer or await self._open())
            answer = None
            in_vain = 0 if self.check.position > before or self._timed_out else in_vain + 1
        if self._broke and not self._over:
            raise errors.FailedError("connections break again and again without an event")

    async def _open(self) -> aiohttp.ClientResponse:
        if not self._run_id:
            raise errors.FailedError("cannot resume: the answer has no X-Run-Id")
        if self._asked_at:
            self._figures.reconnects += 1
        self._asked_at = time.time()
        return await self._client.events(self._run_id, self.check.position, slow=self._slow)

    async def _connection(self, answer: aiohttp.ClientResponse) -> None:
        """Read what one connection has."""
        self._timed_out = self._broke = False
        self._figures.open += 1
        try:
            if answer.status == HTTPStatus.NO_CONTENT:
                self._over = True
                return
            if answer.status != HTTPStatus.OK:
                raise await errors.refused(answer)
            if answer.content_type != "text/event-stream":
                raise errors.FailedError("the answer is no text/event-stream")
            await self._take_all(answer)
        except errors.BROKEN as error:
            if not self._run_id:
                raise
            self._broke = True
            if self._slow:  # the server has no patience with such readers
                self._figures.disconnected += 1
            else:
                self._figures.error(errors.kind(error))
        finally:
            self._figures.open -= 1
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()

    async def _take_all(self, answer: aiohttp.ClientResponse) -> None:
        joined = frames.Frames()
        content = answer.content
        while True:
            if self._slow:
                await asyncio.sleep(_PAUSE)
                chunk = await content.read(_SLOW_PIECE)
            else:
                chunk = await content.readany()
            if not chunk:
                if self.check.terminal is not None or not self._run_id:
                    self._over = True
                return
            self._figures.received += len(chunk)
            if (whole := joined.feed(chunk)) and self._take(whole) and random.random() < self._reconnect:
                return

    def _take(self, whole: bytes) -> int:
        """Check whole frames, and return how many events of the log they are."""
        batch = frames.batch(whole)
        if batch is None:
            return sum(map(self._take_frame, frames.parse(whole)))
        self._measure(batch)
        self.check.take_all(batch, whole)
        if batch.types[-1] in _FAILURES:
            self.failure = whole[whole.rindex(_DATA) + len(_DATA) :]
        return len(batch.ids)

    def _take_frame(self, frame: frames.Frame) -> int:
        if frame.id is None:
            self._control(frame)
            return 0
        if frame.data is None:
            return 0
        if frames.batch(frame.text) is not None:
            return self._take(frame.text)
        self._figures.events += 1
        if not frame.id.isdigit() or len(frame.id) > frames.MOST_DIGITS or frame.id.startswith(b"0"):
            self.check.unnumbered(frame)
            return 0
        self.check.take(int(frame.id), frame.event, frame.text)
        if frame.event in _FAILURES:
            self.failure = frame.data
        return 1

    def _control(self, frame: frames.Frame) -> None:
        match frame.event:
            case b"gap":
                self.check.gap(frame)
            case b"timeout":
                self._timed_out = True
            case b"gone":
                raise errors.FailedError("the run's events are gone")
            case event if event != b"heartbeat" and frame.data is not None:
                self.check.unnumbered(frame)

    def _measure(self, batch: frames.Batch) -> None:
        now, figures = time.perf_counter(), self._figures
        count = len(batch.ids)
        figures.events += count
        if self._slow:  # its delays are its own
            return
        if self._last:
            figures.gap.add(now - self._last)
        else:
            figures.first_event.add(now - self._began)
        if count > 1:
            figures.gap.add(0.0, count - 1)
        self._last = now
        wall = time.time()
        ages = frames.ages(batch, wall)
        longest = wall - self._asked_at  # history is not late
        if ages and max(ages) > longest:
            ages = [age for age in ages if age <= longest]
        figures.late.add_all(ages)
