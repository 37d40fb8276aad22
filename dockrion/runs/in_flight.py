"""One piece of work of this process: what has a slot, or waits for one, until it is over."""

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

import msgspec

from dockrion.runs.context import RunSession
from dockrion.runs.execution import Execution
from dockrion.runs.outcome import Stop
from dockrion.runs.slots import Slot


class InFlightRun(msgspec.Struct, eq=False):
    """A run or an invocation. Made on the event loop.

    Attributes:
        run_id: What it is called.
        slot: Done when its agent may begin.
        created: Done when its record is stored, or cannot be.
        changed: Set when whoever carries it out has to look again: at its slot, at its agent, at
            what was published, at whether it is to stop.
        stop: Why its agent has to stop, None while it may go on.
        session: Where its events go, while its agent works.
        execution: Its agent at work, while it does.
        producer_seq: The number of the last batch that another process pushed.
    """

    PRODUCER_SEQ: ClassVar[str] = "producer_seq"  # in the metadata of a run that is over

    run_id: str
    slot: Slot
    created: asyncio.Future[None]
    changed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    stop: Stop | None = None
    session: RunSession | None = None
    execution: Execution | None = None
    producer_seq: int = 0

    @property
    def metadata(self) -> dict[str, Any]:
        """What its record says of it in the end."""
        return {self.PRODUCER_SEQ: self.producer_seq} if self.producer_seq else {}

    @property
    def decided(self) -> bool:
        """Whether it is known how it ends."""
        return self.stop is not None or (self.execution is not None and self.execution.decided)

    def stop_for(self, stop: Stop) -> None:
        """Stop it. The first reason is the one that counts."""
        if self.stop is not None:
            return
        self.stop = stop
        if self.execution is not None:
            self.execution.stop(stop)
        self.changed.set()

    def drop_execution(self) -> None:
        """Forget its agent, which is over: what refers to each other would wait for the garbage collector."""
        self.session = self.execution = None

    async def wait_changed(self) -> None:
        """Wait until there is news."""
        await self.changed.wait()
        self.changed.clear()

    async def wait_for_slot(self, limit: float | None) -> bool:
        """Wait for the slot; tell whether it came before a stop and before the limit.

        Args:
            limit: Seconds, None for no limit.
        """
        if not self.slot.done():
            self.slot.add_done_callback(lambda _: self.changed.set())
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    while not self.slot.done() and self.stop is None:
                        await self.wait_changed()
        return self.slot.done() and self.stop is None
