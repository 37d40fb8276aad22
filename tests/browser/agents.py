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


async def converses(_payload: Any, context: StreamContext) -> None:
    """Emit what two agents say and do at the same time."""
    await context.emit_message("Rain?", "user", name="ann")
    await context.emit_reasoning("Ask ", source="lead")
    await context.emit_reasoning("both.", source="lead")
    for one, other in zip(["It", " is", " wet."], ["Not", " at", " all."], strict=True):
        await context.emit_token(one, source="lead/a", message_id="m1")
        await context.emit_token(other, source="lead/b")
    await context.emit_message("It is wet.", message_id="m1", source="lead/a")
    await context.emit_message("Not at all.", source="lead/b")
    good = await context.emit_tool_call("search", {"q": "rain"}, source="lead/a")
    bad = await context.emit_tool_call("look", source="lead/b")
    open_ = await context.emit_tool_call("wait")
    await context.emit_tool_result(bad, "no window", is_error=True)
    await context.emit_tool_result(good, {"hits": 3}, duration_ms=1500)
    assert len({good, bad, open_}) == 3
    await context.emit_message(
        [{"type": "text", "text": "Done."}, {"type": "image", "url": "u"}], source="lead"
    )
    await context.emit_usage("large", 1000, 200)
    await context.emit_usage("large", 1, 2, source="lead")
    await context.emit_usage(output_tokens=5)
    await context.emit_step("plan", source="lead")


async def shows_everything(_payload: Any, context: StreamContext) -> dict[str, Any]:
    """Emit an event of each type."""
    await context.emit_progress("plan", 0.25, "thinking")
    await context.emit_progress("plan", 0.5, "still thinking")
    await context.emit_token("Hello")
    await context.emit_step("write", 1500, input_keys=["topic"], output_keys=["text"])
    await context.checkpoint("outline", {"parts": [1, 2]})
    await context.emit("mood", happy=True)
    return {"answer": 42}
