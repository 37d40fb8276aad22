"""The agent of the benchmarks."""

import asyncio
import json
import time
from typing import Any

from dockrion import StreamContext


async def emit(payload: dict[str, Any], context: StreamContext) -> Any:
    """Emit tokens as fast as possible, or one per `pause` seconds, and return the payload.

    Clients of other protocols send the payload as the text of a message.
    """
    if "messages" in payload:
        payload = json.loads(payload["messages"][-1]["content"])
    pause, started = payload.get("pause", 0), time.monotonic()
    for number in range(1, payload.get("tokens", 0) + 1):
        if pause:
            await asyncio.sleep(max(started + number * pause - time.monotonic(), 0))
        await context.emit_token(f"token {number}")
    for _ in range(payload.get("tools", 0)):
        async with context.tool("look_up"):
            pass
    if payload.get("wait"):
        await asyncio.Event().wait()
    return payload
