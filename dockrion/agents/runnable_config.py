"""The `RunnableConfig` of LangGraph and LangChain: the Dockfile's, a caller's, and a run's."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dockrion.runs.agent import Call
from dockrion.runs.session import RunSession

_STREAM_CONTEXT = "stream_context"  # under `configurable`; holds the run's context
_RESERVED_PREFIX = "__"  # of LangGraph's and LangChain's internal names


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
        if name == _STREAM_CONTEXT or name.startswith(_RESERVED_PREFIX):
            raise ValueError(f"`$.configurable.{name}` is reserved")
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


def for_run(config: dict[str, Any], call: Call, session: RunSession) -> dict[str, Any]:
    """Return the config of one run: the Dockfile's and the caller's, with the run's context."""
    result = merge(config, call.config)
    result["configurable"] = {**result.get("configurable", {}), _STREAM_CONTEXT: session.context}
    return result
