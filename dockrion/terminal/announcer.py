"""Tells a person in a terminal how the service starts and ends."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from dockrion.console.screen import printable
from dockrion.dockfile import Dockfile
from dockrion.redaction import Redactor
from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address
from dockrion.terminal.log_text import duration
from dockrion.terminal.style import BOLD, CYAN, DIM, GREEN, YELLOW, paint

_ANY_HOST = {"0.0.0.0": "localhost", "::": "localhost", "": "localhost"}  # noqa: S104  shown, not listened on
_PAGES = {"Page": "/", "API docs": "/docs", "Metrics": "/metrics"}
_STREAM = "/invoke/stream"  # where there is no page
_MAX_NAMED = 5


class TerminalAnnouncer(Announcer):
    """Writes to the terminal that the log goes to.

    Args:
        handler: Writes the log.
        redactor: Masks secrets.
        dockfile: What is served.
        paths: The paths that it serves.
        colours: Whether to use them.
        worker: The worker process that speaks, None if it is the only one, or the supervisor.
    """

    def __init__(
        self,
        handler: "logging.StreamHandler[TextIO]",
        redactor: Redactor,
        dockfile: Dockfile,
        paths: Iterable[str],
        *,
        colours: bool,
        worker: int | None = None,
    ) -> None:
        self._handler = handler
        self._redactor = redactor
        self._agent = dockfile.agent
        self._paths = frozenset(paths)
        self._colours = colours
        self._worker = worker
        self._started_at = time.monotonic()

    def listening(self, address: Address, port: int) -> None:
        agent = self._agent
        facts = {"Agent": self._paint(agent.name, BOLD)}
        if agent.description:
            facts["Agent"] += f": {self._shown(' '.join(agent.description.split()))}"
        facts["Runs"] = f"{self._shown(agent.target)} ({agent.framework or agent.mode})"
        facts |= self._places(address, port)
        width = max(map(len, facts))
        lines = [f"  {self._paint(name.ljust(width), DIM)}  {fact}" for name, fact in facts.items()]
        self._write("", *lines, "", self._paint("  Press Ctrl-C to stop.", DIM), "")

    def ready(self) -> None:
        seconds = duration(time.monotonic() - self._started_at)
        self._write(f"{self._now()} {self._paint('ready', GREEN)} {self._paint(f'in {seconds}', DIM)}")

    def draining(self, run_ids: Sequence[str], grace: float) -> None:
        if run_ids:
            runs = f"{len(run_ids)} run{'s' if len(run_ids) > 1 else ''} to end: {', '.join(_named(run_ids))}"
            line = f"waiting up to {duration(grace)} for {runs}; Ctrl-C again ends at once"
        elif self._worker is None:
            line = "stopping"
        else:
            return
        worker = "" if self._worker is None else self._paint(f"worker {self._worker} ", DIM)
        self._write(f"{self._now()} {worker}{self._paint(line, YELLOW)}", over_typed=True)

    def _places(self, address: Address, port: int) -> dict[str, str]:
        if address.uds is not None:
            return {"Socket": printable(str(address.uds))}
        host = _ANY_HOST.get(address.host, address.host)
        root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        pages = {name: root + path for name, path in _PAGES.items() if path in self._paths}
        return {name: self._paint(url, CYAN) for name, url in (pages or {"Streams": root + _STREAM}).items()}

    def _shown(self, text: str) -> str:
        return printable(self._redactor.mask(text))

    def _now(self) -> str:
        return self._paint(time.strftime("%H:%M:%S"), DIM)

    def _paint(self, text: str, style: str) -> str:
        return paint(text, style, colours=self._colours)

    def _write(self, *lines: str, over_typed: bool = False) -> None:
        """Write lines.

        Args:
            lines: The lines.
            over_typed: Whether to write over what was just typed: the ^C of a Ctrl-C.
        """
        stream = self._handler.stream
        begin = "\r" if over_typed and stream.isatty() else ""
        self._handler.acquire()
        try:
            stream.write(begin + "".join(f"{line}\n" for line in lines))
            stream.flush()
        finally:
            self._handler.release()


def _named(run_ids: Sequence[str]) -> list[str]:
    """Return the ids that are named in a line."""
    more = len(run_ids) - _MAX_NAMED
    return [*map(printable, run_ids[:_MAX_NAMED]), *([f"{more} more"] if more > 0 else [])]
