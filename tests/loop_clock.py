"""The clock of an event loop, which tests can advance instead of waiting for a timer."""

import asyncio


async def advance(seconds: float) -> None:
    """Let the clock of the running event loop jump ahead, and the timers fire that are due then."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
    for _ in range(2):  # in a turn of the loop, timers come after the tasks that are ready
        await asyncio.sleep(0)
