"""Which tools an agent may call: `policies.tools` of the Dockfile."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # agents import this module, and have no use for what reads Dockfiles
    from dockrion.dockfile.safety_structs import ToolsSpec


class ToolDenied(PermissionError):
    """Raised where an agent calls a tool that it may not, before the tool does anything.

    An `OSError`, which LangGraph does not retry unless told to.

    Args:
        tool: The tool's name.
    """

    def __init__(self, tool: str) -> None:
        super().__init__(f"the tool {tool!r} is not allowed by policies.tools")
        self.tool = tool


class Tools:
    """Which tools an agent may call.

    Args:
        spec: The Dockfile's section; without one every tool is allowed.
    """

    def __init__(self, spec: "ToolsSpec | None" = None) -> None:
        self.restricted = spec is not None and spec.deny_by_default
        self._allowed = frozenset(spec.allowed if spec is not None else ())

    def allows(self, name: str) -> bool:
        return not self.restricted or name in self._allowed
