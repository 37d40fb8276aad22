"""Which tools an agent may call."""

import logging
from collections.abc import Callable, Iterable

from dockrion.logs import log

_logger = logging.getLogger("dockrion.runs")
_in_force: set["ToolPolicy"] = set()


class ToolDenied(PermissionError):
    """Raised where an agent calls a tool that it may not, before the tool does anything.

    An `OSError`, which LangGraph does not retry unless told to.

    Args:
        tool: The tool's name.
    """

    def __init__(self, tool: str) -> None:
        super().__init__(f"the tool {tool!r:.100} is not allowed by policies.tools")
        self.tool = tool


class ToolPolicy:
    """Which tools an agent may call.

    Args:
        allowed: The names of those tools; None for every tool.
        on_denied: Called with each call that is denied, from any thread.

    Attributes:
        restricted: Whether any tool is denied.
        on_denied: As given.
    """

    def __init__(
        self, allowed: Iterable[str] | None = None, on_denied: Callable[[], object] = lambda: None
    ) -> None:
        self.restricted = allowed is not None
        self.on_denied = on_denied
        self._allowed = frozenset(allowed or ())

    def allows(self, name: str) -> bool:
        return not self.restricted or name in self._allowed

    def enforce(self) -> None:
        """Apply it to the code of this process that belongs to no run, too, until `close`."""
        if self.restricted:
            _in_force.add(self)

    def close(self) -> None:
        """Stop applying it to code that belongs to no run."""
        _in_force.discard(self)


def check_without_run(name: str) -> None:
    """Check a call of a tool by code that belongs to no run, such as a thread that an agent started.

    Raises:
        ToolDenied: A policy that is in force in this process does not allow the tool.
    """
    if denying := [policy for policy in tuple(_in_force) if not policy.allows(name)]:
        log(_logger, logging.WARNING, "tool denied", tool=name)
        for policy in denying:
            policy.on_denied()
        raise ToolDenied(name)
