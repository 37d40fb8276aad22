"""What one process of the client does: its users, and a look at itself."""

import asyncio
import time
from collections.abc import Callable

from dockrion.load.measurements import Figures
from dockrion.load.options import Options
from dockrion.load.users import Users

PUBLISH_SECONDS = 0.5
_LAG_SECONDS = 0.05


async def work(options: Options, publish: Callable[[Figures], None], stop: asyncio.Event) -> Figures:
    """Do a share of the test.

    Args:
        options: The share.
        publish: Called about twice a second with the figures so far.
        stop: Ends it early.

    Returns:
        The figures.
    """
    figures = Figures()
    began, busy = time.perf_counter(), time.process_time()

    def look() -> None:
        figures.seconds = time.perf_counter() - began
        figures.cpu = (time.process_time() - busy) / max(figures.seconds, 1e-9)

    async def observe() -> None:
        published = began
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_LAG_SECONDS)
            now = time.perf_counter()
            figures.lag.add(now - before - _LAG_SECONDS)
            if now - published >= PUBLISH_SECONDS:
                published = now
                look()
                publish(figures)

    observer = asyncio.create_task(observe())
    try:
        await Users(options, figures).work(stop)
    finally:
        observer.cancel()
        await asyncio.wait([observer])
    look()
    figures.open = 0
    return figures
