"""Asks the user what a run asks, one question after another."""

import asyncio
from collections.abc import Callable

from dockrion.client import (
    Client,
    ClientError,
    Conflict,
    Event,
    Gap,
    InputReceived,
    InputRequested,
    InvalidRequest,
    PayloadTooLarge,
    ResponseError,
    Started,
)
from dockrion.console import answers
from dockrion.console.screen import Screen
from dockrion.console.standard_input import StandardInput

_MAX_OPEN = 1_000
_MAX_PROMPT_LENGTH = 60
_MAX_DETAILS_LENGTH = 2_000


class Questions:
    """The questions of a run that nobody has answered yet. The oldest is asked first.

    If the service refuses an answer, the question is asked again. If there is no one to ask, the user is
    told the command that answers.

    Args:
        client: Sends the answers.
        screen: Shows the prompt.
        lines: What the user enters.
        command: Returns the command for a question.
    """

    def __init__(
        self, client: Client, screen: Screen, lines: StandardInput, command: Callable[[InputRequested], str]
    ) -> None:
        self._client = client
        self._screen = screen
        self._lines = lines
        self._command = command
        self._open: dict[str, tuple[InputRequested, float | None]] = {}  # each with its deadline
        self._asking: asyncio.Task[None] | None = None
        self._reading = ""  # the question whose answer the user is typing

    def update(self, event: Event | Gap) -> None:
        """Take the question that an event asks, or drop the one that it answers."""
        match event:
            case Started():  # perhaps not for the first time; nobody waits for earlier answers
                self.stop()
            case InputRequested(request_id=request_id) if len(self._open) < _MAX_OPEN:
                self._open[request_id] = event, _deadline(event)
                self._ask_next()
            case InputReceived(request_id=request_id):
                self._open.pop(request_id, None)
                if self._asking is not None and self._reading == request_id:
                    self._asking.cancel()

    def stop(self) -> None:
        """Stop asking what is asked now."""
        self._open.clear()
        if self._asking is not None:
            self._asking.cancel()

    async def aclose(self) -> None:
        """Stop asking, and wait until the prompt is gone."""
        self.stop()
        if self._asking is not None:
            await asyncio.wait([self._asking])

    def _ask_next(self) -> None:
        if self._asking is None and self._open:
            question, deadline = next(iter(self._open.values()))
            self._asking = asyncio.create_task(self._ask(question, deadline))
            self._asking.add_done_callback(self._on_asked)

    def _on_asked(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.result()
        self._ask_next()

    async def _ask(self, question: InputRequested, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                if await self._is_open(question):
                    while not await self._answer(question):
                        pass
        except TimeoutError:
            self._screen.remark("! the time for this answer is over")
        finally:
            self._open.pop(question.request_id, None)

    async def _is_open(self, question: InputRequested) -> bool:
        """Return whether the run waits: the events of a run that is shown from its start may be old."""
        try:
            return (await self._client.get(question.run_id)).waiting_for is not None
        except ClientError:
            return True

    async def _answer(self, question: InputRequested) -> bool:
        """Ask once, and return whether the question need not be asked again."""
        line = await self._read(question)
        if line is None:
            self._screen.remark(f"to answer: {self._command(question)}")
            return True
        try:
            value = answers.parse(line, question.schema)
            await self._client.respond(question.run_id, question.request_id, value)
        except (InvalidRequest, PayloadTooLarge) as error:
            self._screen.remark(f"! {error.message}{details(error)}")
            return False
        except Conflict:
            self._screen.remark("! this has been answered already, or is no longer asked")
        except ClientError as error:
            self._screen.remark(f"! not answered: {error}\nto answer: {self._command(question)}")
        return True

    async def _read(self, question: InputRequested) -> str | None:
        """Return the line that the user enters, None if there is no user."""
        if not self._lines.is_readable or (self._lines.is_terminal and not self._screen.can_prompt):
            return None
        if not self._lines.is_terminal:
            return await self._read_line(question)
        hidden = answers.is_secret(question.schema)
        first_line = question.prompt.partition("\n")[0]
        line = None
        with self._lines.typing(hidden=hidden):
            self._screen.prompt(f"{first_line[:_MAX_PROMPT_LENGTH]} > ")
            try:
                line = await self._read_line(question)
            finally:
                self._screen.end_prompt(entered=line is not None and not hidden)
        return line

    async def _read_line(self, question: InputRequested) -> str | None:
        self._reading = question.request_id
        try:
            return await self._lines.read_line()
        finally:
            self._reading = ""


def _deadline(question: InputRequested) -> float | None:
    """Return the time of the event loop at which nobody waits for the answer any more.

    It is measured from now on, because the service's clock may be another one: later than it is for a
    question that was asked before this process began to read.
    """
    if question.expires_at is None:
        return None
    remaining = (question.expires_at - question.timestamp).total_seconds()
    return asyncio.get_running_loop().time() + remaining


def details(error: ResponseError) -> str:
    """Return the details of a refusal, each on a line of its own below the message."""
    return "".join(f"\n  {line}" for line in error.detail_lines)[:_MAX_DETAILS_LENGTH]
