"""One piece of work of this process: what has a place, or waits for one, until it is over."""

import asyncio
from typing import Any, ClassVar

import msgspec

from dockrion.context import StreamContext
from dockrion.outcome import Stop
from dockrion.places import Place


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


class Active(msgspec.Struct, eq=False):
    """A run or an invocation. Made on the event loop.

    Attributes:
        run_id: What it is called.
        place: Done when its agent may begin.
        stop: Done when its agent has to stop, with the reason.
        created: Done when its record is stored, or cannot be.
        context: Where its events go, once its agent may begin.
        producer_seq: The number of the last batch that another process pushed.
        decided: Whether it is known how it ends.
    """

    PRODUCER_SEQ: ClassVar[str] = "producer_seq"  # in the metadata of a run that is over

    run_id: str
    place: Place
    stop: asyncio.Future[Stop] = msgspec.field(default_factory=_future)
    created: asyncio.Future[None] = msgspec.field(default_factory=_future)
    context: StreamContext | None = None
    producer_seq: int = 0
    decided: bool = False

    @property
    def metadata(self) -> dict[str, Any]:
        """What its record says of it in the end."""
        return {self.PRODUCER_SEQ: self.producer_seq} if self.producer_seq else {}

    def stop_for(self, stop: Stop) -> None:
        """Stop it. The first reason is the one that counts."""
        if not self.stop.done():
            self.stop.set_result(stop)

    async def has_place(self, limit: float | None) -> bool:
        """Wait for the place; tell whether it came before a stop and before the limit.

        Args:
            limit: Seconds, None for no limit.
        """
        if not self.place.done():
            await asyncio.wait((self.place, self.stop), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        return self.place.done() and not self.stop.done()
