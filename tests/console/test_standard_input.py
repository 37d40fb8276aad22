"""Lines from terminals, pipes and files."""

import asyncio
import os
import pty
import select
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dockrion.console.standard_input import StandardInput
from tests.support import TIMEOUT_SECONDS


@pytest.fixture
def terminal() -> Iterator[tuple[int, StandardInput]]:
    """Open a terminal: the end that the user types at, and what reads from it."""
    user, program = pty.openpty()
    with closing(os.fdopen(program)) as file:
        yield user, StandardInput(file)
    os.close(user)


async def test_a_pipe_is_read_line_by_line_until_it_ends() -> None:
    reading, writing = os.pipe()
    with closing(os.fdopen(reading)) as file:
        lines = StandardInput(file)
        assert not lines.is_terminal
        first = asyncio.create_task(lines.read_line())
        await asyncio.sleep(0)
        os.write(writing, b"one\r\ntw")
        assert await first == "one"
        os.write(writing, b"o\n\xff")
        os.close(writing)
        assert [await lines.read_line() for _ in range(3)] == ["two", "\N{REPLACEMENT CHARACTER}", None]


async def test_a_file_and_no_input_at_all(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\n\ntwo")
    with (tmp_path / "lines").open() as file:
        lines = StandardInput(file)
        assert [await lines.read_line() for _ in range(4)] == ["one", "", "two", None]
    with Path(os.devnull).open() as file:
        assert await StandardInput(file).read_line() is None
    assert not StandardInput(None).is_readable
    assert await StandardInput(None).read_line() is None


async def test_what_was_typed_before_the_question_is_no_answer(terminal: tuple[int, StandardInput]) -> None:
    user, lines = terminal
    assert lines.is_terminal
    assert lines.is_readable
    os.write(user, b"yes\n")
    assert lines._file is not None
    assert select.select([lines._file], [], [], TIMEOUT_SECONDS)[0]
    with lines.typing():
        os.write(user, b"no\n")
        assert await lines.read_line() == "no"


async def test_end_of_file_in_a_terminal_ends_one_line_only(terminal: tuple[int, StandardInput]) -> None:
    user, lines = terminal
    for typed, line in ((b"\x04", None), (b"one\n", "one")):
        with lines.typing():
            os.write(user, typed)
            assert await lines.read_line() == line


async def test_a_secret_is_not_echoed_and_the_terminal_is_restored(
    terminal: tuple[int, StandardInput],
) -> None:
    user, lines = terminal

    def echoes() -> bool:
        return bool(termios.tcgetattr(user)[3] & termios.ECHO)

    with lines.typing(hidden=True):
        assert not echoes()
        os.write(user, b"secret\n")
        assert await lines.read_line() == "secret"
    assert echoes()


async def test_a_closed_terminal_is_the_end() -> None:
    user, program = pty.openpty()
    with closing(os.fdopen(program)) as file:
        lines = StandardInput(file)
        with lines.typing():
            os.close(user)
            assert await lines.read_line() is None


def test_a_background_job_does_not_read_from_its_terminal(
    terminal: tuple[int, StandardInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda _terminal: os.getpgrp() + 1)
    assert not terminal[1].is_readable
