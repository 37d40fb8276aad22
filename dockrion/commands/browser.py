"""`dockrion run --open`: opens the page in a browser."""

import os
import threading
import webbrowser
from collections.abc import Sequence

from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address


class OpeningAnnouncer(Announcer):
    """Opens the page once, when the agent is ready.

    Args:
        announcer: Tells a person what the process does.
    """

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer
        self._url: str | None = None

    def listening(self, address: Address, port: int) -> None:
        self._url = address.url(port)
        self._announcer.listening(address, port)

    def ready(self) -> None:
        self._announcer.ready()
        if self._url is not None:
            # In a thread, which may end with this process: some browsers return only when they are closed.
            threading.Thread(target=_open, args=(f"{self._url}/",), name="dockrion-open", daemon=True).start()
            self._url = None

    def reloading(self, files: Sequence[str]) -> None:
        self._announcer.reloading(files)

    def draining(self, run_ids: Sequence[str], grace: float) -> None:
        self._announcer.draining(run_ids, grace)

    def ended(self) -> None:
        self._announcer.ended()


def _open(url: str) -> None:
    try:
        browser = webbrowser.get()
        # One that shows pages in the terminal would take it away from the log, unless that is asked for.
        if type(browser) is not webbrowser.GenericBrowser or "BROWSER" in os.environ:
            browser.open(url)
    except (webbrowser.Error, OSError):  # there is none
        return
