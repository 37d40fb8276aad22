"""The log of `dockrion run`: JSON for programs, text for a person at a terminal."""

import logging
import sys
from functools import partial
from typing import Any, NamedTuple, TextIO

from dockrion import logs
from dockrion.commands.dockfile_options import logger_levels
from dockrion.dockfile import Loaded
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from dockrion.server.announcer import Announcer
from dockrion.web.routes import routes
from dockrion.web.service import Role

AUTO, _JSON, _TEXT = LOG_FORMATS = ("auto", "json", "text")


class RunLog(NamedTuple):
    """The log of a process.

    Attributes:
        format: `json` or `text`.
        handler: Writes it.
        announcer: Tells a person what the process does.
    """

    format: str
    handler: "logging.StreamHandler[TextIO]"
    announcer: Announcer


def start_log(
    loaded: Loaded,
    redactor: Redactor,
    *,
    role: Role,
    log_format: str,
    shared: bool,
    supervised: bool,
    worker: int | None = None,
) -> RunLog:
    """Send all logs of this process to stdout.

    Args:
        loaded: The Dockfile.
        redactor: Masks secrets.
        role: What the process serves.
        log_format: One of `LOG_FORMATS`.
        shared: Whether other processes write to the same stdout.
        supervised: Whether a supervisor announces what it starts and ends.
        worker: The id of this process, if its lines name it.
    """
    constant: dict[str, Any] = {} if worker is None else {"worker": worker}
    level = loaded.dockfile.observability.log_level
    configure = partial(
        logs.configure,
        level,
        redactor,
        current_run=current_session,
        shared=shared,
        logger_levels=logger_levels(loaded),
    )
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    if log_format == _JSON or (log_format == AUTO and not on_terminal):
        return RunLog(_JSON, configure(**constant), Announcer())
    from dockrion.terminal.announcer import TerminalAnnouncer  # noqa: PLC0415  memory
    from dockrion.terminal.log_text import TextFormatter, is_shown  # noqa: PLC0415  memory
    from dockrion.terminal.style import shows_colours  # noqa: PLC0415  memory

    colours = on_terminal and shows_colours(sys.stdout)
    agent_package = loaded.dockfile.agent.target.partition(":")[0].partition(".")[0]
    formatter = partial(TextFormatter, colours=colours, agent_package=agent_package)
    handler = configure(formatter=formatter, **constant)
    handler.addFilter(is_shown)
    paths = (route.path for route in routes(loaded.dockfile, role))
    announcer = TerminalAnnouncer(
        handler,
        redactor,
        loaded.dockfile,
        paths,
        role=role,
        colours=colours,
        supervised=supervised,
        worker=worker,
    )
    return RunLog(_TEXT, handler, announcer)
