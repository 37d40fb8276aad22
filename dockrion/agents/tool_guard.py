"""Keeps LangChain's tools, which LangGraph's are too, from being called where the policy forbids it.

Handlers of a run's config would miss what is called without that config: `tool.run(…)`, calls
with callbacks of their own, threads of the agent's own. So the guard is one of LangChain's
configure hooks, which every call of a tool goes through, whatever its config.
"""

import logging
from contextvars import ContextVar
from functools import cache
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from dockrion.logs import log
from dockrion.runs.context import current_session
from dockrion.runs.tool_policy import ToolDenied, ToolPolicy

_logger = logging.getLogger(__name__)
_in_force: set[ToolPolicy] = set()


class _Handler(BaseCallbackHandler):
    raise_error = True
    run_inline = False  # beside one that is, LangChain tells no other of a model's start
    ignore_llm = ignore_chat_model = ignore_chain = ignore_retriever = True
    ignore_retry = ignore_custom_event = True

    def on_tool_start(self, serialized: dict[str, Any], *_given: Any, **_named: Any) -> None:
        """Raise where the tool may not be called; LangChain has not called it yet."""
        name, session = serialized["name"], current_session()
        if session is not None and not session.context.is_tool_allowed(name):
            log(_logger, logging.WARNING, "tool denied", run_id=session.run_id, tool=name)
            session.deny_tool(name)
            raise ToolDenied(name)
        if session is None and not all(tools.allows(name) for tools in _in_force):
            log(_logger, logging.WARNING, "tool denied", tool=name)
            raise ToolDenied(name)


class ToolGuard:
    """Has a policy kept in the whole process, in threads that belong to no known run, too.

    Args:
        tools: The policy.
    """

    def __init__(self, tools: ToolPolicy) -> None:
        self._tools = tools
        if tools.restricted:
            _install()
            _in_force.add(tools)

    def close(self) -> None:
        """Leave threads that belong to no run to themselves."""
        _in_force.discard(self._tools)


@cache
def _install() -> None:
    handler = _Handler()  # as the default, for it is what the variable holds in every thread there is
    register_configure_hook(ContextVar("dockrion_tool_guard", default=handler), inheritable=True)
