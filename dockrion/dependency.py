"""The states of what a service needs, as operators see them."""

import time
from typing import Literal

import msgspec

State = Literal["up", "degraded", "away", "full", "loading", "failed", "draining", "unused"]


class Dependency(msgspec.Struct, eq=False):
    """Something that a service needs.

    Attributes:
        state: Its state.
        since: When that began, in seconds since the epoch.
        reason: Why it is not up, without addresses and the like; None if it is, or if nothing is known.
    """

    state: State
    since: float = msgspec.field(default_factory=time.time)
    reason: str | None = None

    def enter(self, state: State, reason: str | None = None) -> None:
        """Set the state; if it is another one, it begins now."""
        if state != self.state:
            self.state = state
            self.since = time.time()
        self.reason = reason
