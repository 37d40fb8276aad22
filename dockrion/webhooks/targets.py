"""Who is told of which events."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from dockrion.backends.outbox import Copy
from dockrion.backends.run_log import Run
from dockrion.events import CUSTOM_PREFIX, TERMINAL, Entry
from dockrion.webhooks.signing import Secret

CALLER = "caller"  # the name of a run's own target
_STATE_CHANGES = TERMINAL | {"started", "input_requested", "input_received"}


class Target(msgspec.Struct, frozen=True):
    """A service that is told of events.

    Attributes:
        name: Names it in the outbox.
        secret: Signs what it gets.
        url: Where; None for the URL of each run.
    """

    name: str
    secret: Secret
    url: str | None = None


class Targets:
    """The targets of the Dockfile, and callers' URLs.

    Args:
        listed: URL, secret and types of events of each target of the Dockfile.
        caller_secret: Signs what callers' URLs get, which is how their run ends, and of push notifications
            of A2A also how its state changes before; None if they may name none.
    """

    def __init__(
        self, listed: Iterable[tuple[str, Secret, Iterable[str]]], caller_secret: Secret | None
    ) -> None:
        self._targets: dict[str, Target] = {}
        self._by_type: dict[str, tuple[str, ...]] = {}
        self._callers = caller_secret is not None
        if caller_secret is not None:
            self._targets[CALLER] = Target(CALLER, caller_secret)
        for url, secret, types in listed:
            name = sha256(url.encode()).hexdigest()[:16]
            self._targets[name] = Target(name, secret, url)
            for event_type in types:
                self._by_type[event_type] = (*self._by_type.get(event_type, ()), name)
        self._of_any_custom = self._by_type.pop("custom", ())
        for event_type, names in self._by_type.items():
            if event_type.startswith(CUSTOM_PREFIX):
                self._by_type[event_type] = tuple(dict.fromkeys((*names, *self._of_any_custom)))

    def get(self, name: str) -> Target | None:
        """Return a target; None if this process knows none of that name."""
        return self._targets.get(name)

    def copies(self, run: Run, entries: Sequence[Entry]) -> list[Copy]:
        """Return which events of a batch go to whom; see `Copying`."""
        if run.unlisted:
            return []
        copies, of_caller = [], frozenset[str]()
        if self._callers and run.webhook_url is not None:
            of_caller = _STATE_CHANGES if "#" in run.webhook_url else TERMINAL
        for entry in entries:
            names = self._by_type.get(entry.type)
            if names is None:
                names = self._of_any_custom if entry.type.startswith(CUSTOM_PREFIX) else ()
            if entry.type in of_caller:
                names = (*names, CALLER)
            if names:
                copies.append(Copy(entry, names))
        return copies
