"""The `RunnableConfig` of LangGraph and LangChain: the Dockfile's, a caller's, and a run's."""

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from dockrion.caller import Caller
from dockrion.runs.agent import Call
from dockrion.runs.session import RunSession

_STREAM_CONTEXT = "stream_context"  # under `configurable`; holds the run's context
# Internal names of LangGraph and LangChain, and the caller's identity on the LangGraph platform.
_RESERVED_PREFIXES = ("__", "langgraph_auth")
# Under `configurable`; they identify what LangGraph's checkpointers and LangChain's message histories store.
_CONVERSATION_IDS = ("thread_id", "session_id")


class _Config(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of `RunnableConfig` that can be JSON."""

    configurable: dict[str, Any] = {}
    recursion_limit: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    max_concurrency: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    run_name: str | None = None
    tags: list[str] = []
    metadata: dict[str, Any] = {}


def parse(value: Any) -> dict[str, Any]:
    """Return a validated config.

    Args:
        value: Any JSON value.

    Raises:
        ValueError: It is not a config; the message names the field.
    """
    config = msgspec.convert(value, _Config)
    for name in config.configurable:
        if name == _STREAM_CONTEXT or name.startswith(_RESERVED_PREFIXES):
            raise ValueError(f"`$.configurable.{name}` is reserved")
    for name in _CONVERSATION_IDS:
        if config.configurable.get(name) is None:
            config.configurable.pop(name, None)
        elif not _is_conversation_id(config.configurable[name]):
            raise ValueError(f"expected a non-empty string or an integer - at `$.configurable.{name}`")
    fields: dict[str, Any] = msgspec.to_builtins(config)
    return fields


def merge(config: dict[str, Any], override: dict[str, Any] | None) -> dict[str, Any]:
    """Return a config in which the second one's values take precedence, key by key in mappings.

    Args:
        config: A validated config.
        override: Another one, or None.
    """
    result = dict(config)
    for name, value in (override or {}).items():
        result[name] = {**result.get(name, {}), **value} if isinstance(value, dict) else value
    return result


def thread_id(config: dict[str, Any], call: Call) -> str | int | None:
    """Return the id of the thread that a call continues, as its caller knows it; None if it names none."""
    found: str | int | None = merge(config, call.config).get("configurable", {}).get("thread_id")
    return found


def for_run(
    config: dict[str, Any], call: Call, session: RunSession, *, thread_id: str | int | None = None
) -> dict[str, Any]:
    """Return the config of one run: the Dockfile's and the caller's, with the run's context.

    An authenticated caller's conversations are stored under ids that no other caller can name.

    Args:
        config: The Dockfile's config, validated.
        call: The call.
        session: The run.
        thread_id: The thread to use, None for that of the configs, if any.
    """
    result = merge(config, call.config)
    configurable = {**result.get("configurable", {}), _STREAM_CONTEXT: session.context}
    if thread_id is not None:
        configurable["thread_id"] = thread_id
    if call.caller is not None:
        for name in configurable.keys() & _CONVERSATION_IDS:
            configurable[name] = _id_of_caller(call.caller, configurable[name])
    result["configurable"] = configurable
    return result


def _is_conversation_id(value: Any) -> bool:
    return (isinstance(value, str) and value != "") or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _id_of_caller(caller: Caller, conversation: str | int) -> str:
    """Return the stored id of a caller's conversation, such as `acme@alice@t1`.

    The number of `@`, which is encoded within the parts, tells whether the first one is a tenant.
    """
    parts = (caller.tenant_id, caller.user_id, str(conversation))
    return "@".join(quote(part, safe="") for part in parts if part is not None)
