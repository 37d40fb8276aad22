"""Logging to stdout: one JSON object per line, secrets masked."""

import logging
import sys
import threading
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any

import msgspec

from dockrion.json_encoding import safe_str
from dockrion.redaction import Redactor

_logger = logging.getLogger(__name__)
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(level: str, redactor: Redactor, **constant_fields: Any) -> None:
    """Send all logs of this process to stdout, including those of the agent's code.

    Args:
        level: The lowest level to log, by its name in the Dockfile.
        redactor: Masks secrets.
        constant_fields: Fields of every line.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(redactor, **constant_fields))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.raiseExceptions = False  # errors of logging itself would print secrets to stderr
    threading.excepthook = _log_thread_failure


def _log_thread_failure(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else None
    log(_logger, logging.ERROR, "uncaught exception in a thread", error=args.exc_value, thread=name)


def log(logger: logging.Logger, level: int, message: str, *, error: Any = None, **fields: Any) -> None:
    """Log a message with structured fields.

    Args:
        logger: The module's logger.
        level: A level of `logging`.
        message: What happened; a constant text, so that lines can be searched for it.
        error: An exception whose traceback is logged, or None.
        fields: The variable parts of the message, by name.
    """
    logger.log(level, message, exc_info=error, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        redactor: Masks secrets in the message, the fields and the traceback.
        constant_fields: Fields of every line.
    """

    def __init__(self, redactor: Redactor, **constant_fields: Any) -> None:
        super().__init__()
        self._redactor = redactor
        self._constant_fields = constant_fields

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.mask(_message(record)),
            **self._constant_fields,
            **self._redactor.mask_value(_json_fields(getattr(record, "fields", None))),
        }
        if record.exc_info:
            line["traceback"] = self._redactor.mask(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
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
