"""Logging to stdout: by default one JSON object per line; secrets masked."""

import fcntl
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BufferedWriter, RawIOBase, TextIOWrapper
from types import MappingProxyType
from typing import Any, Protocol, TextIO

import msgspec

from dockrion.caller import CallerRequest, current_request
from dockrion.json_encoding import safe_str
from dockrion.redaction import Redactor

_logger = logging.getLogger(__name__)
_LOCK_SECONDS = 1.0  # a process that holds the lock may be frozen
_TRY_AGAIN_SECONDS = 0.0005
_LINE_BYTES = 1024 * 1024  # a line and its end are written separately, which the buffer joins
_PLAIN = frozenset((str, int, float, bool, type(None)))
MAX_TRACEBACK = 64 * 1024  # characters; the message of an exception may quote a whole payload
_LOGGER_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class LoggedRun(Protocol):
    """What the log needs to know of the run that an agent works for."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def request(self) -> CallerRequest:
        """The request that started the run."""

    @property
    def redactor(self) -> Redactor:
        """Masks the secrets of the process, and those of the run."""

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call something when the agent has ended, or at once if it has."""


CurrentRun = Callable[[], LoggedRun | None]


def configure(
    level: str,
    redactor: Redactor,
    *,
    current_run: CurrentRun = lambda: None,
    shared: bool = False,
    formatter: Callable[..., logging.Formatter] | None = None,
    logger_levels: Mapping[str, int] = MappingProxyType({}),
    **constant_fields: Any,
) -> "logging.StreamHandler[TextIO]":
    """Send all logs of this process to stdout, including those of the agent's code.

    Args:
        level: The lowest level to log, by its name in the Dockfile.
        redactor: Masks secrets.
        current_run: Returns the run that the code works for which calls it, if any.
        shared: Whether other processes that do the same write to the same stdout.
        formatter: Makes what formats a record; it is called as `JsonFormatter` is, which is the default.
        logger_levels: The lowest levels of single loggers, and of those below them.
        constant_fields: Fields of every line.

    Returns:
        The handler that writes them.
    """
    if shared:
        output = BufferedWriter(_SharedOutput(sys.stdout.fileno()), _LINE_BYTES)
        sys.stdout = TextIOWrapper(output, line_buffering=True)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter((formatter or JsonFormatter)(redactor, current_run, **constant_fields))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    for name, lowest in logger_levels.items():
        logging.getLogger(name).setLevel(lowest)
    logging.raiseExceptions = False  # errors of logging itself would print secrets to stderr
    threading.excepthook = _log_thread_failure
    return handler


def parse_logger_levels(text: str) -> dict[str, int]:
    """Return the levels of loggers, by name, in a text such as `httpx=warn,my.agent=debug`.

    Raises:
        ValueError: It has another form.
    """
    levels: dict[str, int] = {}
    for entry in text.split(",") if text.strip() else ():
        name, _, level = (part.strip() for part in entry.partition("="))
        lowest = logging.WARNING if level == "warning" else LEVELS.get(level)  # as in the log's lines
        if lowest is None or not _LOGGER_NAME.fullmatch(name):
            form = f"logger=level, with a level of {', '.join(LEVELS)}"
            raise ValueError(f"expected {form}, separated by commas, got {entry!r:.100}")
        if name in levels:
            raise ValueError(f"the logger {name:.100} has two levels")
        levels[name] = lowest
    return levels


def _log_thread_failure(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else None
    log(_logger, logging.ERROR, "uncaught exception in a thread", error=args.exc_value, thread=name)


def log(
    logger: logging.Logger, level: int, message: str, *, error: BaseException | None = None, **fields: Any
) -> None:
    """Log a message with structured fields.

    Args:
        logger: The module's logger.
        level: A level of `logging`.
        message: What happened; a constant text, so that lines can be searched for it.
        error: An exception whose traceback is logged, or None.
        fields: The variable parts of the message, by name.
    """
    if logger.isEnabledFor(level):
        # Not with `logger.log`, which looks for its caller: that would be this function in every line.
        raised = None if error is None else (type(error), error, error.__traceback__)
        extra = {"fields": fields}
        logger.handle(logger.makeRecord(logger.name, level, __file__, 0, message, (), raised, "log", extra))


class _SharedOutput(RawIOBase):
    """The stdout of several processes, whose lines do not mix.

    A pipe keeps a write together only up to 4 KiB (PIPE_BUF, pipe(7)), so each write takes a lock on it.

    Args:
        descriptor: The file descriptor, which stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wait_seconds = _LOCK_SECONDS

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        rest = data
        locked = self._lock()
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if len(rest) == len(data):
                raise
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return len(data) - len(rest)

    def _lock(self) -> bool:
        """Lock the output against other processes, and return whether that succeeded in time."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self._wait_seconds = 0.0  # until the lock is free again
                    return False
                time.sleep(_TRY_AGAIN_SECONDS)
            except OSError:  # an output that cannot be locked
                return False
            else:
                self._wait_seconds = _LOCK_SECONDS
                return True


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        redactor: Masks secrets in the message, the fields and the traceback.
        current_run: Returns the run that logs, if any.
        constant_fields: Fields of every line.
    """

    def __init__(
        self, redactor: Redactor, current_run: CurrentRun = lambda: None, **constant_fields: Any
    ) -> None:
        super().__init__()
        self._redactor = redactor
        self._current_run = current_run
        self._constant_fields = constant_fields

    def format(self, record: logging.LogRecord) -> str:
        run = self._current_run()
        redactor = self._redactor if run is None else run.redactor
        message, fields = message_of(record), getattr(record, "fields", None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **self._constant_fields,
            **context_fields(run),
        }
        if not record.exc_info and (unmasked := _encode_without_secrets(line, fields, redactor)):
            return unmasked
        line["message"] = redactor.mask(message)
        if "request_id" in line:
            line["request_id"] = redactor.mask(line["request_id"])
        line |= redactor.mask_value(_json_fields(fields))
        if record.exc_info:
            traceback = redactor.mask(self.formatException(record.exc_info))
            line["traceback"] = traceback[:MAX_TRACEBACK]
        return msgspec.json.encode(line).decode()


def _encode_without_secrets(line: dict[str, Any], fields: Any, redactor: Redactor) -> str | None:
    """Encode a line of plain values in which nothing has to be masked; return None for any other.

    This takes half as long as masking each value. Without a backslash in the JSON, each text is in it as it
    is, and a quotation mark ends a word as the text's end does: a secret is found there or nowhere.
    """
    if not isinstance(fields, dict) or not _PLAIN.issuperset(map(type, fields.values())):
        return None
    try:
        encoded = msgspec.json.encode(line | fields).decode()
    except Exception:  # invalid Unicode, names that are not strings
        return None
    return None if "\\" in encoded or redactor.masks(encoded) else encoded


def context_fields(run: LoggedRun | None) -> dict[str, Any]:
    """Return the fields of lines by what they are logged for, a run or else the current request.

    They are the ids of the run and of the request, and those of the trace and of the current span; without
    tracing, the span is the caller's.
    """
    request = current_request() if run is None else run.request
    fields = {} if run is None else {"run_id": run.run_id}
    if request.request_id is not None:
        fields["request_id"] = request.request_id
    if request.traceparent is not None:
        _, fields["trace_id"], fields["span_id"], *_ = request.traceparent.split("-")
    return fields


def message_of(record: logging.LogRecord) -> str:
    """Return the message of a record, whatever its arguments are."""
    try:
        return record.getMessage().rstrip("\n")  # that of a warning ends in one
    except Exception:  # the arguments do not match the format, or their `__str__` raises
        return str(record.msg)


def _json_fields(fields: Any) -> dict[str, Any]:
    """Convert fields to JSON values; a line must not be lost because one has no JSON form."""
    if not isinstance(fields, dict):  # the agent's code may use the record's attribute differently
        return {}
    return {str(name): _json_value(value) for name, value in fields.items()}


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    try:
        return msgspec.json.decode(_encoder.encode(value))
    except Exception:  # invalid Unicode, keys that are not strings, cycles
        return safe_str(value)


_encoder = msgspec.json.Encoder(enc_hook=safe_str)
