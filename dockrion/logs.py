"""One JSON object a line, on stdout, without secrets."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion.jsonable import text_of
from dockrion.redaction import Redactor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(level: str, redactor: Redactor) -> None:
    """Send everything that is logged in this process to stdout, the agent's own logs too.

    Args:
        level: A level as the Dockfile names it.
        redactor: Masks secrets.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(redactor))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)


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
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.text(record.getMessage()),
            **self._redactor.value(_plain(getattr(record, "fields", None))),
        }
        if record.exc_info:
            line["traceback"] = self._redactor.text(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _plain(fields: Any) -> dict[str, Any]:
    """Return fields as JSON values, whatever they are: a line must not be lost for one of them."""
    if not isinstance(fields, dict):  # the agent's own logging may use this name for anything
        return {}
    return {str(name): _plain_value(value) for name, value in fields.items()}


def _plain_value(value: Any) -> Any:
    try:
        return msgspec.json.decode(_encoder.encode(value))
    except Exception:  # invalid Unicode, a mapping with odd keys, nesting without end
        return text_of(value)


_encoder = msgspec.json.Encoder(enc_hook=text_of)
