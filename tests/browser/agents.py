"""Agents that the tests control."""

import asyncio
from typing import Any

from dockrion import StreamContext


class ScriptedAgent:
    """An agent that emits tokens when the test says so."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.stopped = asyncio.Event()
        self._words: asyncio.Queue[str | None] = asyncio.Queue()

    def say(self, *words: str) -> None:
        for word in words:
            self._words.put_nowait(word)

    def end(self) -> None:
        self._words.put_nowait(None)

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        words = []
        try:
            while (word := await self._words.get()) is not None:
                words.append(word)
                await context.emit_token(word)
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return {"said": words}


async def shows_everything(_payload: Any, context: StreamContext) -> dict[str, Any]:
    """Emit an event of each type."""
    await context.emit_progress("plan", 0.25, "thinking")
    await context.emit_progress("plan", 0.5, "still thinking")
    await context.emit_token("Hello")
    await context.emit_step("write", 1500, input_keys=["topic"], output_keys=["text"])
    await context.checkpoint("outline", {"parts": [1, 2]})
    await context.emit("mood", happy=True)
    return {"answer": 42}
