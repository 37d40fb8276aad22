"""The default sample agent: an async handler that emits events through its StreamContext."""

import asyncio
import itertools
import time
from typing import Any

from dockrion import StreamContext

SENTENCE = "is a fine thing to write about when there is nothing else to say and"


async def write(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    words = payload.get("words", 20)
    pause = payload.get("pause_ms", 100) / 1000
    started = time.perf_counter()

    await context.emit_progress("plan", 0.0, "thinking of an outline")
    await context.checkpoint("outline", {"topic": payload["topic"], "words": words})

    text: list[str] = []
    for number, word in enumerate(itertools.islice(_words(payload["topic"]), words), start=1):
        text.append(word)
        await asyncio.sleep(pause)
        await context.emit_token(word if number == 1 else f" {word}", "stop" if number == words else None)
        if number % 10 == 0:
            await context.emit_progress("write", number / words)

    milliseconds = (time.perf_counter() - started) * 1000
    await context.emit_step("write", milliseconds, input_keys=["topic"], output_keys=["text"])
    return {"text": " ".join(text), "words": words}


def _words(topic: str) -> itertools.chain[str]:
    return itertools.chain.from_iterable(itertools.cycle([[topic], SENTENCE.split()]))
