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

_PAGES = {"Page": "/", "API docs": "/docs", "Metrics": "/metrics"}
_STREAM = "/invoke/stream"  # where there is no page
_MAX_NAMED = 5
_HINT_SECONDS = 2.0  # nobody is faster


class TerminalAnnouncer(Announcer):
    """Writes to the terminal that the log goes to.

    Args:
        handler: Writes the log.
        redactor: Masks secrets.
        dockfile: What is served.
        paths: The paths that it serves.
        role: What the process serves: `api`, `worker` or `all`.
        colours: Whether to use them.
        supervised: Whether a supervisor says how the service starts and ends.
        worker: The worker process that speaks, None if it is the only one, or the supervisor.
    """

    def __init__(
        self,
        handler: "logging.StreamHandler[TextIO]",
        redactor: Redactor,
        dockfile: Dockfile,
        paths: Iterable[str],
        *,
        role: str = "all",
        colours: bool,
        supervised: bool = False,
        worker: int | None = None,
    ) -> None:
        self._handler = handler
        self._redactor = redactor
        self._agent = dockfile.agent
        self._paths = frozenset(paths)
        self._role = role
        self._colours = colours
        self._supervised = supervised
        self._worker = "" if worker is None else f"worker {worker}"
        self._started_at = time.monotonic()

    def listening(self, address: Address, port: int) -> None:
        agent = self._agent
        facts = {"Agent": self._paint(agent.name, BOLD)}
        if agent.description:
            facts["Agent"] += f": {self._shown(' '.join(agent.description.split()))}"
        facts["Runs"] = f"{self._shown(agent.target)} ({agent.framework or agent.mode})"
        if self._role != "all":
            facts["Role"] = self._role
        facts |= self._places(address, port)
        width = max(map(len, facts))
        lines = [f"  {self._paint(name.ljust(width), DIM)}  {fact}" for name, fact in facts.items()]
        self._write("", *lines, "", self._paint("  Press Ctrl-C to stop.", DIM), "")

    def ready(self) -> None:
        if self._supervised:
            return
        seconds = duration(time.monotonic() - self._started_at)
        self._say(f"{self._paint('ready', GREEN)} {self._paint(f'in {seconds}', DIM)}")

    def reloading(self, files: Sequence[str]) -> None:
        self._started_at = time.monotonic()
        self._say(f"{self._paint('reloading', CYAN)}: {', '.join(_named(files))}")

    def ended(self) -> None:
        if not self._supervised:
            self._say("stopped")

    def draining(self, run_ids: Sequence[str], grace: float) -> None:
        if not run_ids:
            if not self._supervised:
                self._say(self._paint("stopping", YELLOW), over_typed=True)
            return
        runs = f"{len(run_ids)} run{'s' if len(run_ids) > 1 else ''} to end: {', '.join(_named(run_ids))}"
        hint = "; Ctrl-C again ends at once" if grace >= _HINT_SECONDS else ""
        self._say(self._paint(f"waiting up to {duration(grace)} for {runs}{hint}", YELLOW), over_typed=True)

    def _places(self, address: Address, port: int) -> dict[str, str]:
        root = address.url(port)
        if root is None:
            return {"Socket": printable(str(address.uds))}
        pages = {name: root + path for name, path in _PAGES.items() if path in self._paths}
        return {name: self._paint(url, CYAN) for name, url in (pages or {"Streams": root + _STREAM}).items()}

    def _shown(self, text: str) -> str:
        return printable(self._redactor.mask(text))

    def _say(self, text: str, *, over_typed: bool = False) -> None:
        """Write a line with its time; over what was just typed if need be: the ^C of a Ctrl-C."""
        moment, worker = self._paint(time.strftime("%H:%M:%S"), DIM), self._paint(self._worker, DIM)
        begin = "\r" if over_typed and self._handler.stream.isatty() else ""
        self._write(begin + " ".join(filter(None, (moment, worker, text))))

    def _paint(self, text: str, style: str) -> str:
        return paint(text, style, colours=self._colours)

    def _write(self, *lines: str) -> None:
        self._handler.acquire()
        try:
            self._handler.stream.write("".join(f"{line}\n" for line in lines))
            self._handler.stream.flush()
        finally:
            self._handler.release()


def _named(names: Sequence[str]) -> list[str]:
    """Return the names that a line has room for."""
    more = len(names) - _MAX_NAMED
    return [*map(printable, names[:_MAX_NAMED]), *([f"{more} more"] if more > 0 else [])]
