"""The context of a run, under the name that it had in Dockrion 0.0.3."""

from dockrion import RunCancelled, StreamContext, get_current_context
from dockrion.runs.context import set_current_context

__all__ = ["RunCancelled", "StreamContext", "get_current_context", "set_current_context"]
