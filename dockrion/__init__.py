"""Dockrion: one AI agent behind HTTP, from one YAML file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockrion.runs.context import RunCancelled, StreamContext, get_current_context
    from dockrion.runs.tool_policy import ToolDenied

__all__ = ["RunCancelled", "StreamContext", "ToolDenied", "get_current_context"]
__version__ = "0.1.0"
_TOOLS = ("ToolDenied",)


def __getattr__(name: str) -> Any:
    """Import what agents' code uses when it is used: whoever needs `dockrion.client` alone does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(
        import_module("dockrion.runs.tool_policy" if name in _TOOLS else "dockrion.runs.context"), name
    )
