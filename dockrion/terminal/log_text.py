"""The log as text: a line for each request and each change of a run, and what agents print and log."""

import logging
import time
from typing import Any

from dockrion.json_encoding import safe_str
from dockrion.logs import MAX_TRACEBACK, CurrentRun, context_fields, message_of
from dockrion.redaction import Redactor
from dockrion.terminal.style import BOLD, CYAN, DIM, GREEN, RED, YELLOW, neutralized, paint, without_colours
from dockrion.terminal.tracebacks import format_folded

_ANNOUNCED = {  # by `announcer`, so that the log need not say it again
    "dockrion.server.sockets": ("listening",),
    "dockrion.web.service": ("agent loaded",),
    "dockrion.server.process": ("shutting down", "shut down"),
    "dockrion.server.reloader": ("files changed", "worker ready"),
    "dockrion.runs": ("run accepted",),  # by its request
}
_PRINTED = ("stdout", "stderr")
_UNSHOWN_PATHS = ("/assets/", "/docs/")  # what a browser loads to show a page
_READINESS = "/ready"  # which an open page asks for again and again
_SHOWN_ELSEWHERE = ("run_id", "reason", "traceback")
_VERBS = {
    "running": ("started", CYAN),
    "running again": ("started again", CYAN),
    "completed": ("completed", GREEN),
    "cancelled": ("cancelled", YELLOW),
}
_LEVELS = {logging.DEBUG: DIM, logging.WARNING: YELLOW, logging.ERROR: RED, logging.CRITICAL: RED}
_STATUSES = {2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}
_SUCCESSES = range(200, 400)
_NOT_READY = 503
_SHORT_ID = 8  # characters; the beginning of an id is its time, which runs nearly share
_MINUTE = 60.0


def is_shown(record: logging.LogRecord) -> bool:
    """Return whether a record is worth a line."""
    if record.msg in _ANNOUNCED.get(record.name, ()):
        return False
    fields = getattr(record, "fields", None)
    if record.name != "dockrion.requests" or not isinstance(fields, dict):
        return True
    path = str(fields.get("path"))
    status = fields.get("status")
    if path == _READINESS:
        return status not in (*_SUCCESSES, _NOT_READY)
    return not path.startswith(_UNSHOWN_PATHS) or status not in _SUCCESSES


class TextFormatter(logging.Formatter):
    """Formats a record for a person.

    Args:
        redactor: Masks secrets.
        current_run: Returns the run that logs, if any.
        colours: Whether to use them.
        agent_package: The package of the agent's code.
        worker: The worker process whose log this is, None if there is only one process.
    """

    def __init__(
        self,
        redactor: Redactor,
        current_run: CurrentRun = lambda: None,
        *,
        colours: bool = False,
        agent_package: str = "",
        worker: int | None = None,
    ) -> None:
        super().__init__()
        self._redactor = redactor
        self._current_run = current_run
        self._colours = colours
        self._agent_package = agent_package
        self._worker = "" if worker is None else f"worker {worker}"

    def format(self, record: logging.LogRecord) -> str:
        run = self._current_run()
        redactor = self._redactor if run is None else run.redactor
        given = getattr(record, "fields", None)
        fields = context_fields(run) | (given if isinstance(given, dict) else {})
        clean = _Cleaner(redactor)
        if record.name == "dockrion.requests" and "status" in fields:
            text = self._request(fields, clean)
        elif record.name == "dockrion.runs" and str(record.msg).startswith("run "):
            text = self._run(record, fields, clean)
        else:
            text = self._message(record, fields, clean)
        if record.exc_info and (raised := record.exc_info[1]) is not None:
            trace = format_folded(raised, record.exc_info[2], self._agent_package)
            text += "\n" + clean(trace[: 2 * MAX_TRACEBACK])[:MAX_TRACEBACK].rstrip("\n")
        elif "traceback" in fields:
            text += "\n" + clean(fields["traceback"])
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        return " ".join(filter(None, (self._paint(moment, DIM), self._paint(self._worker, DIM), text)))

    def _request(self, fields: dict[str, Any], clean: "_Cleaner") -> str:
        status, seconds = fields["status"], fields["seconds"]
        parts = [
            self._paint(clean(fields.get("method")), BOLD),
            clean(fields.get("path")),
            self._paint(clean(status), _STATUSES.get(status // 100, "")),
            self._paint(duration(seconds), DIM),
        ]
        run_id = fields.get("run_id")
        if run_id is not None and str(run_id) not in str(fields.get("path")):
            parts.append(self._paint(f"run {clean(run_id)}", DIM))
        return " ".join(parts)

    def _run(self, record: logging.LogRecord, fields: dict[str, Any], clean: "_Cleaner") -> str:
        change = record.msg.removeprefix("run ")
        verb, style = _VERBS.get(change, (change, RED))
        text = f"run {clean(fields.get('run_id'))} {self._paint(clean(verb), style)}"
        if (seconds := fields.get("seconds")) is not None:
            text += self._paint(f" {duration(seconds)}", DIM)
        traced = record.exc_info or "traceback" in fields  # which says the reason
        reasons = [fields.get("code"), None if traced else fields.get("reason")]
        if shown := " ".join(clean(each) for each in reasons if each):
            text += f": {shown}"
        return text

    def _message(self, record: logging.LogRecord, fields: dict[str, Any], clean: "_Cleaner") -> str:
        message = clean(message_of(record)).replace("\n", "\n  ")
        run_id = fields.get("run_id")
        run = "" if run_id is None else self._paint(_short(clean(run_id)), DIM)
        if record.name in _PRINTED:
            return f"{run} {message}" if run else message
        level = _LEVELS.get(record.levelno, "")
        if not record.name.startswith("dockrion"):
            word = record.levelname.lower()
            parts = (run, self._paint(word, level) if level else "", f"{clean(record.name)}: {message}")
            return " ".join(filter(None, parts))
        shown = (f"{clean(n)}={clean(v)}" for n, v in fields.items() if n not in _SHOWN_ELSEWHERE)
        named = "warning: " if record.levelno == logging.WARNING else ""
        reason = f": {clean(fields['reason'])}" if "reason" in fields else ""
        text = self._paint(named + message + reason, level)
        return " ".join(filter(None, (run, text, self._paint(" ".join(shown), DIM))))

    def _paint(self, text: str, style: str) -> str:
        return paint(text, style, colours=self._colours)


class _Cleaner:
    """Makes values printable, without secrets."""

    def __init__(self, redactor: Redactor) -> None:
        self._mask = redactor.mask

    def __call__(self, value: Any) -> str:
        if isinstance(value, list):
            value = ", ".join(map(safe_str, value))
        return neutralized(self._mask(without_colours(safe_str(value))))


def duration(seconds: float) -> str:
    """Return a duration as a person reads it."""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"  # noqa: PLR2004
    if seconds < _MINUTE:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), round(_MINUTE))
    return f"{minutes} min {rest} s"


def _short(run_id: str) -> str:
    return run_id if len(run_id) <= _SHORT_ID + 1 else f"…{run_id[-_SHORT_ID:]}"
