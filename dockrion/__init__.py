"""Dockrion: one AI agent behind HTTP, from one YAML file."""

from dockrion.context import RunCancelled, StreamContext, get_current_context
from dockrion.policies.tools import ToolDenied

__all__ = ["RunCancelled", "StreamContext", "ToolDenied", "get_current_context"]
__version__ = "0.1.0"
