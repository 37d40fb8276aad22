"""Dockrion: one AI agent behind HTTP, from one YAML file.

Agent code imports `StreamContext`, `get_current_context`, `tool`, `RunCancelled`, `InputTimeout` and
`ToolDenied` from here; its tests import from `dockrion.testing`.
Everything else is in the subpackages, each of which imports only from those above it in the table of
tests/test_imports.py. This module itself imports nothing until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockrion.runs.context import StreamContext, get_current_context
    from dockrion.runs.emitter import RunCancelled
    from dockrion.runs.question import InputTimeout
    from dockrion.runs.tool_decorator import tool
    from dockrion.runs.tool_policy import ToolDenied

__all__ = ["InputTimeout", "RunCancelled", "StreamContext", "ToolDenied", "get_current_context", "tool"]
__version__ = "0.1.0"
_MODULES = {
    "InputTimeout": "dockrion.runs.question",
    "RunCancelled": "dockrion.runs.emitter",
    "StreamContext": "dockrion.runs.context",
    "ToolDenied": "dockrion.runs.tool_policy",
    "get_current_context": "dockrion.runs.context",
    "tool": "dockrion.runs.tool_decorator",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `dockrion.client` does not load the engine."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
