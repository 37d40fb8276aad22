"""One JSON object a line, on stdout, without secrets."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

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
            **self._redactor.value(getattr(record, "fields", {})),
        }
        if record.exc_info:
            line["traceback"] = self._redactor.text(self.formatException(record.exc_info))
        return _encoder.encode(line).decode()


_encoder = msgspec.json.Encoder(enc_hook=str)
