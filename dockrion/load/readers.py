"""One reader of one run, over all its connections."""

import asyncio
import random
import time
from http import HTTPStatus

import aiohttp

from dockrion.load import errors, frames
from dockrion.load.client import Client
from dockrion.load.figures import Figures
from dockrion.load.verify import Check

_PAUSE = 0.05
_SLOW_PIECE = 4096
_MOST_IN_VAIN = 5  # connections in a row without an event, and without a reason


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
        run_id: The run.
        slow: As given.
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
        self.run_id = run_id
        self.slow = slow
        self.check = Check(figures, name, slow=slow)
        self.failure = b""
        self._client = client
        self._figures = figures
        self._began = began
        self._reconnect = reconnect
        self._asked_at = 0.0
        self._last = 0.0
        self._over = False  # nothing follows
        self._excused = False  # this connection ended for a reason

    async def read(self, first: aiohttp.ClientResponse | None = None, asked_at: float = 0.0) -> None:
        """Read to the end.

        Args:
            first: A connection that is open already.
            asked_at: When that was asked for, by `time.time`.
        """
        complete = False
        try:
            if first is not None:
                self._asked_at = asked_at
                await self._connection(first)
            await self._resume(in_vain=0 if first is None or self.check.position else 1)
            complete = True
        except errors.EXPECTED as error:
            self._figures.error(errors.kind(error))
        self.check.end(complete=complete)

    async def _resume(self, in_vain: int) -> None:
        while not self._over:
            if self._asked_at:
                self._figures.reconnects += 1
            if not self.run_id:
                raise errors.FailedError("cannot resume: the answer has no X-Run-Id")
            if in_vain:
                await asyncio.sleep(_PAUSE * in_vain)
            before = self.check.position
            self._asked_at = time.time()
            answer = await self._client.events(self.run_id, before, slow=self.slow)
            if answer.status == HTTPStatus.NO_CONTENT:
                answer.release()
                self._over = True
                return
            await self._connection(answer)
            in_vain = 0 if self.check.position > before or self._excused else in_vain + 1
            if in_vain >= _MOST_IN_VAIN:
                raise errors.FailedError("streams end again and again without an event")

    async def _connection(self, answer: aiohttp.ClientResponse) -> None:
        """Read what one connection has."""
        self._excused = False
        self._figures.open += 1
        try:
            if answer.status != HTTPStatus.OK:
                raise await errors.refused(answer)
            if answer.content_type != "text/event-stream":
                raise errors.FailedError("the answer is no text/event-stream")
            await self._take_all(answer)
        except errors.BROKEN as error:
            if not self.run_id:
                raise
            if self.slow:  # the server has no patience with such readers
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
            if self.slow:
                await asyncio.sleep(_PAUSE)
                chunk = await content.read(_SLOW_PIECE)
            else:
                chunk = await content.readany()
            if not chunk:
                if self.check.terminal is not None or not self.run_id:
                    self._over = True
                return
            self._figures.received += len(chunk)
            if (whole := joined.feed(chunk)) and self._take(whole) and random.random() < self._reconnect:
                self._excused = True
                return

    def _take(self, whole: bytes) -> int:
        """Check whole frames, and return how many events of the log they are."""
        batch = frames.batch(whole)
        if batch is not None:
            self.check.take_all(batch, whole)
            self._measure(batch)
            if batch.types[-1] in (b"error", b"cancelled"):
                self.failure = whole[whole.rindex(b"\ndata: ") + 7 :]
            return len(batch.ids)
        return sum(map(self._take_frame, frames.parse(whole)))

    def _take_frame(self, frame: frames.Frame) -> int:
        if frame.id is None:
            self._control(frame)
            return 0
        if frame.data is None:
            return 0
        one = frames.batch(frame.text)
        if one is not None:
            self._measure(one)
        else:
            self._figures.events += 1
        if not frame.id.isdigit() or len(frame.id) > frames.MOST_DIGITS or frame.id.startswith(b"0"):
            self.check.unnumbered(frame)
            return 0
        self.check.take(int(frame.id), frame.event, frame.text)
        if frame.event in (b"error", b"cancelled"):
            self.failure = frame.data
        return 1

    def _control(self, frame: frames.Frame) -> None:
        match frame.event:
            case b"gap":
                self.check.gap(frame)
            case b"timeout":
                self._excused = True
            case b"gone":
                raise errors.FailedError("the run's events are gone")

    def _measure(self, batch: frames.Batch) -> None:
        now, figures = time.perf_counter(), self._figures
        count = len(batch.ids)
        figures.events += count
        if self.slow:  # its delays are its own
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
