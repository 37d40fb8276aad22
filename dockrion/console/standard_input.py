"""Reads lines that are typed in the terminal or come through a pipe, without blocking the event loop."""

import asyncio
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_CHUNK_BYTES = 64 * 1024
_MAX_LINE_BYTES = 10 * 1024 * 1024  # as much as a service accepts by default


class StandardInput:
    """Lines of text.

    Args:
        file: Where they come from; None if there is nothing.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._rest = b""
        self._ended = False

    @property
    def is_terminal(self) -> bool:
        return self._file is not None and self._file.isatty()

    @property
    def is_readable(self) -> bool:
        """Whether this process may read: a background job that reads from its terminal is stopped."""
        if self._file is None:
            return False
        if not self.is_terminal:
            return True
        try:
            return os.tcgetpgrp(self._file.fileno()) == os.getpgrp()
        except OSError:  # not the terminal that controls this process
            return True

    @contextmanager
    def typing(self, *, hidden: bool = False) -> Iterator[None]:
        """Prepare a terminal for one line, and restore it afterwards.

        What was typed before is discarded: it was no answer to what is asked now.

        Args:
            hidden: Whether the terminal does not show what is typed.
        """
        if self._file is None or not self.is_terminal:
            yield
            return
        terminal = self._file.fileno()
        before, during = termios.tcgetattr(terminal), termios.tcgetattr(terminal)
        if hidden:
            during[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSAFLUSH, during)
        self._rest, self._ended = b"", False
        try:
            yield
        finally:
            with suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(terminal, termios.TCSAFLUSH, before)

    async def read_line(self) -> str | None:
        """Return the next line without its end, None if there is none."""
        if self._file is None:
            return None
        return await self._next_line(self._file.fileno())

    async def _next_line(self, descriptor: int) -> str | None:
        while b"\n" not in self._rest and not self._ended and len(self._rest) < _MAX_LINE_BYTES:
            await _readable(descriptor)
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except OSError:  # the terminal is gone
                chunk = b""
            self._ended = not chunk
            self._rest += chunk
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace").removesuffix("\r")


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # an ordinary file, which is always readable
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
