"""`dockrion invoke` and `dockrion watch`: show a run until it is over, or until the user interrupts."""

import argparse
import asyncio
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import msgspec
from yarl import URL

from dockrion.client import Client, ClientError, ConnectionLost, InputRequested, ResponseError, Stream
from dockrion.console import answers
from dockrion.console.arguments import add_common, payload, run_id
from dockrion.console.display import Display
from dockrion.console.questions import Questions, details
from dockrion.console.screen import Screen
from dockrion.console.standard_input import StandardInput
from dockrion.signals import waking

INTERRUPTED = 128 + signal.SIGINT  # as a shell says it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_COMPLETE = "complete"


class _Line(msgspec.Struct):
    type: str


def add_invoke(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion invoke`."""
    parser.add_argument(
        "payload",
        type=payload,
        nargs="?",
        default="{}",
        metavar="JSON|@FILE|-",
        help="the agent's input: JSON, a file, or - for standard input (default {})",
    )
    add_common(parser)
    parser.set_defaults(command=_invoke)


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion watch`."""
    parser.add_argument(
        "run_id", type=run_id, metavar="RUN_ID", help="the run, which is shown from its start"
    )
    add_common(parser)
    parser.set_defaults(command=_watch)


def _invoke(arguments: argparse.Namespace) -> int:
    return _show(arguments, lambda client: client.stream(msgspec.Raw(arguments.payload)), cancel=True)


def _watch(arguments: argparse.Namespace) -> int:
    return _show(arguments, lambda client: client.events(arguments.run_id), cancel=False)


def _show(arguments: argparse.Namespace, stream: Callable[[Client], Stream], *, cancel: bool) -> int:
    """Show a run of a service.

    Args:
        arguments: Those of `add_common`.
        stream: Returns the run's stream.
        cancel: Whether an interrupt cancels the run.
    """

    async def show() -> int:
        headers = dict(arguments.header)
        async with Client(arguments.url, token=arguments.token, headers=headers) as client:
            answer_command = partial(_answer_command, arguments)
            return await show_run(
                client,
                stream(client),
                screen,
                answer_command=answer_command,
                cancel=cancel,
                as_json=arguments.json,
            )

    screen = Screen(sys.stdout, sys.stderr)
    return report_errors(show(), screen)


def report_errors(show: Coroutine[Any, Any, int], screen: Screen) -> int:
    """Run what shows a run, and report in a line why it cannot be shown.

    Args:
        show: Shows it, and returns the exit code.
        screen: Where it is shown.

    Returns:
        The exit code: that of `show`, or 1 if the run cannot be shown.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # text that the terminal's encoding does not have
    try:
        return asyncio.run(show)
    except ClientError as error:
        screen.remark(_explanation(error))
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe may leave
            sys.stderr.write(f"cannot write: {error.strerror}\n")
        # The interpreter flushes stdout at its exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


async def show_run(
    client: Client,
    stream: Stream,
    screen: Screen,
    *,
    answer_command: Callable[[InputRequested], str],
    cancel: bool,
    as_json: bool = False,
    output: Screen | None = None,
) -> int:
    """Show a run until it is over, or until the user interrupts.

    Args:
        client: Of its service.
        stream: Its events.
        screen: Where they are shown.
        answer_command: Returns what answers a question if there is no user.
        cancel: Whether an interrupt cancels the run.
        as_json: Whether each event is printed as a line of JSON instead.
        output: Where the run's output is shown, by default like all else.

    Returns:
        The exit code: 0 if the run completed, `INTERRUPTED` if the user did not wait for its end, else 1.
    """
    questions = Questions(client, screen, StandardInput(sys.stdin), answer_command)
    show = _print_lines(stream) if as_json else _print_text(stream, Display(screen, output), questions)
    reading = asyncio.create_task(show)
    cancelling: list[asyncio.Task[None]] = []

    def interrupt() -> None:
        questions.stop()
        if cancel and stream.run_id and not cancelling:
            screen.remark(f"cancelling run {stream.run_id}")
            cancelling.append(asyncio.create_task(_cancel(client, stream.run_id)))
        else:
            reading.cancel()

    with _on_signals(interrupt):
        await asyncio.wait([reading])
    for task in cancelling:
        task.cancel()
        await asyncio.wait([task])
    if not reading.cancelled():
        return reading.result()
    screen.remark("stopped" if cancel else f"stopped; to continue: dockrion watch {stream.run_id}")
    return INTERRUPTED


async def _print_lines(stream: Stream) -> int:
    last = ""
    async for line in stream.lines():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        last = msgspec.json.decode(line, type=_Line).type
    return 0 if last == _COMPLETE else 1


async def _print_text(stream: Stream, display: Display, questions: Questions) -> int:
    last = ""
    try:
        async for event in stream:
            display.show(event)
            questions.update(event)
            last = event.type
    finally:
        await questions.aclose()
    return 0 if last == _COMPLETE else 1


async def _cancel(client: Client, run_id: str) -> None:
    with suppress(ClientError):  # the run may be over; other errors end its stream too
        await client.cancel(run_id, "interrupted by the caller")


def _answer_command(arguments: argparse.Namespace, question: InputRequested) -> str:
    """Return the shell command that answers a question. It shows no credentials."""
    words = ["curl"]
    if arguments.token is not None:
        words.append('-H "Authorization: Bearer $DOCKRION_KEY"')
    words.extend(f"-H {shlex.quote(f'{name}: …')}" for name, _ in arguments.header)
    body = {"request_id": question.request_id, "value": answers.example(question.schema)}
    url = URL(arguments.url).with_user(None).joinpath("runs", question.run_id, "input")
    words.append(f"--json {shlex.quote(msgspec.json.encode(body).decode())} {shlex.quote(str(url))}")
    return " ".join(words)


@contextmanager
def _on_signals(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    unhandled = 0

    def handle() -> None:
        nonlocal unhandled
        unhandled -= 1
        handler()

    # Not with loop.add_signal_handler: the agent of `dockrion test` may block the loop.
    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        nonlocal unhandled
        if unhandled:
            raise KeyboardInterrupt
        unhandled += 1
        loop.call_soon_threadsafe(handle)

    replaced = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        with waking(asyncio.get_running_loop()):
            yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def _explanation(error: ClientError) -> str:
    """Return an error's message, and what helps the user."""
    match error:
        case ConnectionLost(run_id=run_id) if run_id:
            return f"{error}; to continue: dockrion watch {run_id}"
        case ResponseError():
            return f"{error}{details(error)}"
    return str(error)
