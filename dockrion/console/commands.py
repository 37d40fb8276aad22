"""Showing a run while it goes on, and being interrupted."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from dockrion.client import Client, ClientError, ConnectionLost, ResponseError, Stream
from dockrion.console.arguments import client
from dockrion.console.display import Display

_MOST_DETAILS = 2_000  # characters
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Line(msgspec.Struct):
    type: str


def follow(options: argparse.Namespace, run: Callable[[Client], Stream], *, cancel: bool) -> int:
    """Show a run to its end, or until the user interrupts.

    Args:
        options: Those of `arguments.add_common`.
        run: Begins the run, or finds it.
        cancel: Whether to interrupt is to cancel the run; else it is to leave it alone.

    Returns:
        The exit code: 0 where the run is complete, else 1.
    """
    display = Display(sys.stdout, sys.stderr)
    try:
        return asyncio.run(_follow(options, run, display, cancel=cancel))
    except ClientError as error:
        display.say(_explained(error))
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # then nobody reads on, which is no error
            sys.stderr.write(f"cannot write: {error.strerror}\n")
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # for what is left to write at the exit
    return 1


async def _follow(
    options: argparse.Namespace, run: Callable[[Client], Stream], display: Display, *, cancel: bool
) -> int:
    async with client(options) as asked:
        stream = run(asked)
        reading = asyncio.create_task(_shown(stream, display, as_json=options.json))
        cancelling: list[asyncio.Task[None]] = []

        def interrupt() -> None:
            if cancel and stream.run_id and not cancelling:
                display.say(f"cancelling run {stream.run_id}")
                cancelling.append(asyncio.create_task(_cancel(asked, stream.run_id)))
            else:
                reading.cancel()

        with _interrupted_by(interrupt):
            await asyncio.wait([reading])
        for task in cancelling:
            task.cancel()
            await asyncio.wait([task])
        if not reading.cancelled():
            return reading.result()
        display.say("left" if cancel else f"left; to go on: dockrion watch {stream.run_id}")
        return 1


async def _shown(stream: Stream, display: Display, *, as_json: bool) -> int:
    last = ""
    if as_json:
        async for line in stream.lines():
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            last = msgspec.json.decode(line, type=_Line).type
    else:
        async for event in stream:
            display.show(event)
            last = event.type
    return 0 if last == "complete" else 1


async def _cancel(asked: Client, run_id: str) -> None:
    with suppress(ClientError):  # it was over already, or its stream will say what is wrong
        await asked.cancel(run_id, "interrupted by who asked")


@contextmanager
def _interrupted_by(interrupt: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _explained(error: ClientError) -> str:
    """Say what went wrong, and what can be done."""
    match error:
        case ConnectionLost(run_id=run_id) if run_id:
            return f"{error}; to go on: dockrion watch {run_id}"
        case ResponseError(details=details) if details is not None:
            return f"{error}\n{msgspec.json.encode(details).decode()[:_MOST_DETAILS]}"
    return str(error)
