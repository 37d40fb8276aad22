"""What an agent prints, to stdout or stderr, as lines of the log.

Only what goes through `sys.stdout` and `sys.stderr`: child processes, and code that writes to the file
descriptors, still write to them directly.
"""

import codecs
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, TextIOWrapper
from typing import Any, TextIO

from dockrion.logs import CurrentRun, LoggedRun, context_fields
from dockrion.redaction import Redactor

MAX_LINE = 64 * 1024  # characters; the rest of a longer line becomes further lines of the log
_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}


@contextmanager
def printed_output_logged(
    handler: logging.Handler, redactor: Redactor, current_run: CurrentRun
) -> Iterator[None]:
    """Log what is printed, and Python's warnings, until the end of the context.

    Args:
        handler: Writes the lines, to another stream.
        redactor: Masks secrets, also those that a line break divides.
        current_run: Returns the run that prints.
    """
    replaced: dict[str, TextIO] = {}
    printed: dict[str, _PrintedLines] = {}
    for name in _LEVELS:
        replaced[name] = getattr(sys, name)
        printed[name] = _PrintedLines(name, replaced[name], handler, redactor, current_run)
        setattr(sys, name, _PrintedText(printed[name]))
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for name, lines in printed.items():
            lines.log_all()
            if getattr(getattr(sys, name), "buffer", None) is lines:  # the agent's code may have replaced it
                setattr(sys, name, replaced[name])


class _PrintedLines(BufferedIOBase):
    """A binary stream whose lines are logged. A line is complete at its line break, or when its run ends.

    Safe to use from all threads, and from within itself: each thread only touches what it has written.

    Args:
        name: `stdout` or `stderr`.
        stream: What this replaces.
        handler: Writes the lines. Not those of the logger, which might print.
        redactor: Masks secrets.
        current_run: Returns the run that prints.
    """

    def __init__(
        self,
        name: str,
        stream: TextIO,
        handler: logging.Handler,
        redactor: Redactor,
        current_run: CurrentRun,
    ) -> None:
        self.name = f"<{name}>"
        self._stream = stream
        self._logger = logging.getLogger(name)
        self._level = _LEVELS[name]
        self._handler = handler
        self._redactor = redactor
        self._current_run = current_run
        self._held: dict[tuple[LoggedRun | None, int], bytes] = {}  # incomplete lines, by run and thread
        self._runs: set[LoggedRun | None] = {None}  # those whose end is awaited

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open, since other runs print, too. Text streams over this close it when they are freed."""

    def write(self, data: Any, /) -> int:
        written = memoryview(data).tobytes()
        run = self._current_run()
        key = run, threading.get_ident()
        rest = self._held.pop(key, b"") + written
        if b"\n" in rest or len(rest) > MAX_LINE + self._redactor_of(run).longest:
            rest = self._log_beginning(rest, run)
        if rest:
            self._held[key] = rest
            if run is not None and run not in self._runs:
                self._runs.add(run)
                run.at_end(partial(self._log_rest, run))
        return len(written)

    def log_all(self) -> None:
        """Log all incomplete lines."""
        for run in tuple(self._runs):
            self._log_rest(run)

    def _log_rest(self, run: LoggedRun | None) -> None:
        """Log the incomplete lines of a run that is over."""
        self._runs.discard(run)
        for key in tuple(self._held):
            if key[0] is run and (rest := self._held.pop(key, b"")):
                self._log(self._redactor_of(run).mask(rest.decode("utf-8", "backslashreplace")), run)

    def _log_beginning(self, data: bytes, run: LoggedRun | None) -> bytes:
        """Log the complete lines, or else the beginning of a long one; return what is left."""
        text, length = codecs.utf_8_decode(data, "backslashreplace", False)
        redactor = self._redactor_of(run)
        text = redactor.mask(text)
        end = text.rfind("\n") + 1 or max(len(text) - redactor.longest, 0)  # a secret may begin there
        self._log(text[:end], run)
        return text[end:].encode() + data[length:]

    def _redactor_of(self, run: LoggedRun | None) -> Redactor:
        return self._redactor if run is None else run.redactor

    def _log(self, text: str, run: LoggedRun | None) -> None:
        for line in text.split("\n"):
            shown = line.removesuffix("\r").rpartition("\r")[2]  # as a terminal would, of a progress bar
            for start in range(0, len(shown.rstrip()), MAX_LINE):
                self._log_line(shown[start : start + MAX_LINE], run)

    def _log_line(self, line: str, run: LoggedRun | None) -> None:
        if self._logger.isEnabledFor(self._level):
            extra = {"fields": context_fields(run)}
            self._handler.handle(
                self._logger.makeRecord(self._logger.name, self._level, "", 0, line, (), None, extra=extra)
            )


class _PrintedText(TextIOWrapper):
    """The text stream over `_PrintedLines`."""

    def __init__(self, lines: _PrintedLines) -> None:
        super().__init__(lines, "utf-8", "backslashreplace", "\n", write_through=True)

    def reconfigure(self, **_options: Any) -> None:
        """Do nothing: the log is UTF-8, and its lines are written at once."""
