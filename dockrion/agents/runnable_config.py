"""The config that LangGraph and LangChain take beside the input: the Dockfile's, and a caller's."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

# Names that LangGraph and LangChain keep for themselves; the last one is ours.
_RESERVED_PREFIX = "__"
STREAM_CONTEXT = "stream_context"


class _Config(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What of LangChain's `RunnableConfig` can be JSON."""

    configurable: dict[str, Any] = {}
    recursion_limit: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    max_concurrency: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    run_name: str | None = None
    tags: list[str] = []
    metadata: dict[str, Any] = {}


def checked(value: Any) -> dict[str, Any]:
    """Return a config that came from outside, if it is one.

    Args:
        value: Any JSON value.

    Raises:
        ValueError: It is no config; the message says where.
    """
    config = msgspec.convert(value, _Config)
    for name in config.configurable:
        if name == STREAM_CONTEXT or name.startswith(_RESERVED_PREFIX):
            raise ValueError(f"`$.configurable.{name}` is reserved")
    known: dict[str, Any] = msgspec.to_builtins(config)
    return known


def merged(config: dict[str, Any], more: dict[str, Any] | None) -> dict[str, Any]:
    """Return one config made of two; where both say something, the second wins.

    Args:
        config: A checked config.
        more: Another one, or None.
    """
    result = dict(config)
    for name, value in (more or {}).items():
        result[name] = {**result.get(name, {}), **value} if isinstance(value, dict) else value
    return result
