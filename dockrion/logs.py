"""One JSON object a line, on stdout, without secrets."""

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


def configure(level: str, redactor: Redactor, **always: Any) -> None:
    """Send everything that is logged in this process to stdout, the agent's own logs too.

    Args:
        level: A level as the Dockfile names it.
        redactor: Masks secrets.
        always: Fields of every line.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(redactor, **always))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.raiseExceptions = False  # its complaints go to stderr, secrets and all
    threading.excepthook = _log_thread


def _log_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else None
    log(_logger, logging.ERROR, "a thread of the agent's failed", error=args.exc_value, thread=name)


def log(logger: logging.Logger, level: int, message: str, *, error: Any = None, **fields: Any) -> None:
    """Log a message with fields that a machine can read.

    Args:
        logger: The module's logger.
        level: A level of `logging`.
        message: What happened, always in the same words.
        error: An exception whose traceback is logged.
        fields: What differs from time to time.
    """
    logger.log(level, message, exc_info=error, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        redactor: Masks secrets in the message, the fields and the traceback.
        always: Fields of every line.
    """

    def __init__(self, redactor: Redactor, **always: Any) -> None:
        super().__init__()
        self._redactor = redactor
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.mask(_message(record)),
            **self._always,
            **self._redactor.mask_value(_plain(getattr(record, "fields", None))),
        }
        if record.exc_info:
            line["traceback"] = self._redactor.mask(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit the message, or have no text
        return str(record.msg)


def _plain(fields: Any) -> dict[str, Any]:
    """Return fields as JSON values, whatever they are: a line must not be lost for one of them."""
    if not isinstance(fields, dict):  # the agent's own logging may use this name for anything
        return {}
    return {str(name): _plain_value(value) for name, value in fields.items()}


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    try:
        return msgspec.json.decode(_encoder.encode(value))
    except Exception:  # invalid Unicode, a mapping with odd keys, nesting without end
        return safe_str(value)


_encoder = msgspec.json.Encoder(enc_hook=safe_str)
