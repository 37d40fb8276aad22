"""Enforcement of `policies.tools` on LangChain's tools, which LangGraph uses, too.

Callback handlers in a run's config would miss calls that are made without that config: `tool.run(…)`,
calls with their own callbacks, threads that the agent started. So the guard is one of LangChain's
configure hooks, which apply to every call of a tool.
"""

from contextvars import ContextVar
from functools import cache
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from dockrion.runs.session import current_session
from dockrion.runs.tool_policy import ToolDenied, check_without_run


class _ToolCallHandler(BaseCallbackHandler):
    raise_error = True
    run_inline = False  # LangChain would not pass a model's start on to other handlers
    ignore_llm = ignore_chat_model = ignore_chain = ignore_retriever = True
    ignore_retry = ignore_custom_event = True

    def on_tool_start(self, serialized: dict[str, Any], *_args: Any, **_kwargs: Any) -> None:
        """Raise `ToolDenied`, before LangChain calls the tool, if that is not allowed."""
        name, session = serialized["name"], current_session()
        if session is None:
            check_without_run(name)
        elif not session.context.is_tool_allowed(name):
            session.deny_tool(name)
            raise ToolDenied(name)


@cache
def install() -> None:
    """Guard the tools of this process, those that threads without a run call included, to its end."""
    handler = _ToolCallHandler()  # the variable's default, since only that is visible in every thread
    register_configure_hook(ContextVar("dockrion_tool_guard", default=handler), inheritable=True)
