"""One agent in each shape that a handler may have. All of them spell a word."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from dockrion import StreamContext, get_current_context


def sync_function(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    """Runs in a thread: it may block."""
    for letter in payload["word"]:
        time.sleep(0.1)
        context.sync_emit_token(letter)
    return {"spelt": payload["word"]}


async def async_function(payload: dict[str, Any]) -> dict[str, Any]:
    """Takes no context: anywhere below the handler there is the current one."""
    for letter in payload["word"]:
        await asyncio.sleep(0.1)
        await _say(letter)
    return {"spelt": payload["word"]}


async def _say(letter: str) -> None:
    if (context := get_current_context()) is not None:
        await context.emit_token(letter)


def generator(payload: dict[str, Any]) -> Iterator[str | dict[str, Any]]:
    """Yields text, events, and last its output."""
    word = payload["word"]
    for number, letter in enumerate(word, start=1):
        time.sleep(0.1)
        yield letter
        yield {"type": "progress", "step": "spell", "progress": number / len(word)}
    yield {"spelt": word}


async def async_generator(payload: dict[str, Any]) -> AsyncIterator[str | dict[str, Any]]:
    for letter in payload["word"]:
        await asyncio.sleep(0.1)
        yield letter
    yield {"type": "custom:spelt", "letters": len(payload["word"])}
    yield {"spelt": payload["word"]}


class Speller:
    """What an entrypoint's factory returns: an object with `invoke`, and here `stream`."""

    def invoke(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"spelt": payload["word"]}

    def stream(self, payload: dict[str, Any]) -> Iterator[str | dict[str, Any]]:
        yield from generator(payload)


def make_speller() -> Speller:
    """Called once, at the start: the place to load what takes long."""
    return Speller()
