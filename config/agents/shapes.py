"""One agent in each supported form: function, generator and entrypoint. All of them spell a word."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import msgspec

from dockrion import StreamContext, get_current_context


def sync_function(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    """Runs in a thread, so it may block."""
    for letter in payload["word"]:
        time.sleep(0.1)
        context.sync_emit_token(letter)
    return {"spelt": payload["word"]}


async def async_function(payload: dict[str, Any]) -> dict[str, Any]:
    """Takes no context: code called by a handler gets it from `get_current_context()`."""
    for letter in payload["word"]:
        await asyncio.sleep(0.1)
        await _emit(letter)
    return {"spelt": payload["word"]}


async def _emit(letter: str) -> None:
    if (context := get_current_context()) is not None:
        await context.emit_token(letter)


def generator(payload: dict[str, Any]) -> Iterator[str | dict[str, Any]]:
    """Yields text (tokens), events, and last its output."""
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


class Word(msgspec.Struct):
    """A word to spell."""

    word: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Spelt(msgspec.Struct):
    spelt: str


async def typed_function(payload: Word, context: StreamContext) -> Spelt:
    """Gets a `Word` made of the request's body; the Dockfile needs no `io_schema`."""
    for letter in payload.word:
        await asyncio.sleep(0.1)
        await context.emit_token(letter)
    return Spelt(payload.word)


class Speller:
    """The object that an entrypoint returns; `stream` is optional."""

    def invoke(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"spelt": payload["word"]}

    def stream(self, payload: dict[str, Any]) -> Iterator[str | dict[str, Any]]:
        yield from generator(payload)


def make_speller() -> Speller:
    """The entrypoint: called once at startup, so load models and other slow resources here."""
    return Speller()
