"""Reading a run's log in a protocol: going on in its middle, and what it comes to as a whole.

An encoder's state follows from the log alone, so the state at a position is found by encoding the events
before it without sending them. Callers of `resume` and `stored_state` hold `Service.replays`: what many long
logs at once would take, time of the event loop and memory, is not theirs to take.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from dockrion.backends.follow import follow
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import PAGE_EVENTS, Page
from dockrion.backends.run_log import RunLog
from dockrion.errors import RunNotFound, ServiceUnavailable, Unauthorized
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.protocols import Encoder, State
from dockrion.web.service import SERVICE
from dockrion.web.streams import time_left

S = TypeVar("S", bound=State)
_FRAME_END = b"\n\n"
_IDLE_SECONDS = 15.0
_MORE_FRAMES = 200


class Resumption(msgspec.Struct, frozen=True):
    """Where a reader goes on.

    Attributes:
        after: The sequence of the last event that is encoded.
        state: The encoder's state after it.
        frames: What is left of that event, to be sent first.
        before: The encoder's state before that event, or before the gap that is said first; `state` if
            nothing is left.
        skipped: The frames of that event that the reader has.
    """

    after: int
    state: Any
    frames: bytes
    before: Any
    skipped: list[bytes] = []


Skip = Callable[[S, S, int], int | None]


def encode(encoder: Encoder[S], state: S, entries: Sequence[Entry]) -> tuple[bytes, S]:
    """Encode events as `Encoder.encode` does, however deeply they are nested.

    How deep JSON may be depends on the frames of the stack, which are more here than where it was stored.
    """
    try:
        return encoder.encode(state, entries)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + _MORE_FRAMES)
        try:
            return encoder.encode(state, entries)
        finally:
            sys.setrecursionlimit(limit)


async def resume(log: RunLog, run: RunRef, encoder: Encoder[S], skip: Skip[S]) -> Resumption:
    """Find the place where a reader goes on.

    Args:
        log: Where the run is stored.
        run: The run.
        encoder: Encodes its events.
        skip: Takes the states before and after an event, and its sequence. Returns how many of its frames the
            reader has, None for all of them and those of all events before.

    Raises:
        RunNotFound: The storage has lost the run.
        ServiceUnavailable: It cannot be reached.
    """
    state, position = encoder.start(), 0
    while (page := await _page(log, run, position)).entries:
        first, last = page.entries[0].sequence, page.entries[-1].sequence
        if first != position + 1:
            before = state
            frames, state = encoder.encode_gap(before, Gap(position + 1, first))
            position = first - 1
            if state.ended or skip(state, state, position) == 0:
                return Resumption(position, state, frames, before)
        _, after = encode(encoder, state, page.entries)
        if skip(state, after, last) is None and not after.ended:
            state, position = after, last
            await asyncio.sleep(0)
            continue
        for entry in page.entries:
            before = state
            frames, state = encode(encoder, before, (entry,))
            position = entry.sequence
            number = skip(before, state, position)
            if number is not None:
                parts = frames.split(_FRAME_END)[:-1]
                rest = b"".join(part + _FRAME_END for part in parts[number:])
                return Resumption(position, state, rest, before, parts[:number])
            if state.ended:
                break
        return Resumption(position, state, b"", state)
    return Resumption(position, state, b"", state)


async def stored_state(log: RunLog, run: RunRef, encoder: Encoder[S]) -> S:
    """Return an encoder's state after all events that are stored now.

    Raises:
        RunNotFound: The storage has lost the run.
        ServiceUnavailable: It cannot be reached.
    """
    state, position = encoder.start(), 0
    while not state.ended and (page := await _page(log, run, position)).entries:
        state, position = _after(encoder, state, position, page)
        await asyncio.sleep(0)
    return state


async def final_state(request: web.Request, run: RunRef, encoder: Encoder[S]) -> S:
    """Wait for the end of a run, or of its stream in the protocol, and return the encoder's state then.

    Raises:
        ServiceUnavailable: The service is shutting down, or the storage has lost the run.
        Unauthorized: The caller's credential has expired.
    """
    service = request.app[SERVICE]
    state, position = encoder.start(), 0
    try:
        async with (
            follow(service.backend, run.run_id, 0, run.incarnation, idle=_IDLE_SECONDS) as pages,
            asyncio.timeout(time_left(None, request)[0]) as deadline,
        ):
            service.invocations.add(deadline)
            try:
                async for page in pages:
                    if page.entries:
                        state, position = _after(encoder, state, position, page)
                    if state.ended:
                        break
                    if page.more:
                        await asyncio.sleep(0)
            finally:
                service.invocations.remove(deadline)
    except RunNotFound:
        raise ServiceUnavailable("this run is no longer stored; send the request again") from None
    except TimeoutError:
        if service.runs.draining:
            raise ServiceUnavailable("the service is shutting down") from None
        message = "the key or token has expired before the agent was done; send the request with a new one"
        raise Unauthorized(message) from None
    return state


async def _page(log: RunLog, run: RunRef, position: int) -> Page:
    return await log.read(run.run_id, position, PAGE_EVENTS, run.incarnation)


def _after(encoder: Encoder[S], state: S, position: int, page: Page) -> tuple[S, int]:
    first = page.entries[0].sequence
    if first != position + 1:
        _, state = encoder.encode_gap(state, Gap(position + 1, first))
    if not state.ended:
        _, state = encode(encoder, state, page.entries)
    return state, page.entries[-1].sequence
