"""One piece of work of this process: what has a place, or waits for one, until it is over."""

import asyncio
from dataclasses import dataclass, field

from dockrion.outcome import Stop
from dockrion.places import Place


@dataclass(eq=False)
class Active:
    """A run or an invocation. Made on the event loop.

    Attributes:
        run_id: What it is called.
        place: Done when its agent may begin.
        stop: Done when its agent has to stop, with the reason.
        created: Done when its record is stored, or cannot be.
    """

    run_id: str
    place: Place
    stop: asyncio.Future[Stop] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    created: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

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
