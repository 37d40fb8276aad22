"""How a handler's signature declares the context."""

import functools
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest

import dockrion
from dockrion import StreamContext
from dockrion import StreamContext as Emitter
from dockrion.agents.handler import HandlerAgent
from tests.agents.harness import ran

if TYPE_CHECKING:
    from collections.abc import Mapping

# ruff: noqa: ARG001  what is not used is what is tested


def _got(payload: Any, context: Any) -> list[bool]:
    return [payload == {"p": 1}, isinstance(context, StreamContext)]


def by_name(payload, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return _got(payload, context)


def by_name_whatever_its_type(payload: Any, context: dict[str, Any]) -> Any:
    return _got(payload, context)


def by_annotation(payload: Any, emitter: StreamContext) -> Any:
    return _got(payload, emitter)


def by_string_annotation(payload: Any, emitter: "StreamContext") -> Any:
    return _got(payload, emitter)


def by_qualified_string_annotation(payload: Any, emitter: "dockrion.StreamContext") -> Any:
    return _got(payload, emitter)


def by_alias(payload: Any, emitter: Emitter) -> Any:
    return _got(payload, emitter)


def by_alias_as_string(payload: Any, emitter: "Emitter") -> Any:
    return _got(payload, emitter)


def by_optional(payload: Any, emitter: Optional[StreamContext] = None) -> Any:  # noqa: UP045
    return _got(payload, emitter)


def by_union(payload: Any, emitter: StreamContext | None = None) -> Any:
    return _got(payload, emitter)


def by_typing_union(payload: Any, emitter: typing.Union[StreamContext, None]) -> Any:  # noqa: UP007
    return _got(payload, emitter)


def by_annotated(payload: Any, emitter: Annotated[StreamContext, "where events go"]) -> Any:
    return _got(payload, emitter)


def by_string_union_beside_unknown_names(
    payload: "Mapping[str, Any]", emitter: "StreamContext | None"
) -> Any:
    return _got(payload, emitter)


def keyword_only(payload: Any, *, context: Any) -> Any:
    return _got(payload, context)


def keyword_only_by_annotation(payload: Any, *, emitter: StreamContext) -> Any:
    return _got(payload, emitter)


def positional_only(payload: Any, context: Any, /) -> Any:
    return _got(payload, context)


def first(context: Any, payload: Any) -> Any:
    return _got(payload, context)


def first_by_annotation(emitter: StreamContext, payload: Any) -> Any:
    return _got(payload, emitter)


def first_positional_only(context: Any, payload: Any, /) -> Any:
    return _got(payload, context)


def third(payload: Any, temperature: float = 0.5, context: Any = None) -> Any:
    return [*_got(payload, context), temperature == 0.5]


def with_a_default(payload: Any, context: Any = None) -> Any:
    return _got(payload, context)


def after_star(payload: Any, *rest: Any, context: Any) -> Any:
    return [*_got(payload, context), rest == ()]


def with_keywords(payload: Any, context: Any, **keywords: Any) -> Any:
    return [*_got(payload, context), keywords == {}]


class Method:
    def handle(self, payload: Any, context: Any) -> Any:
        return _got(payload, context)

    def __call__(self, emitter: StreamContext, payload: Any) -> Any:
        return _got(payload, emitter)


def configured(settings: Any, payload: Any, context: Any) -> Any:
    return _got(payload, context)


async def in_async(payload: Any, emitter: StreamContext) -> Any:
    return _got(payload, emitter)


def in_generator(context: Any, payload: Any) -> Any:
    yield _got(payload, context)


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return call


WANT = [
    by_name,
    by_name_whatever_its_type,
    by_annotation,
    by_string_annotation,
    by_qualified_string_annotation,
    by_alias,
    by_alias_as_string,
    by_optional,
    by_union,
    by_typing_union,
    by_annotated,
    by_string_union_beside_unknown_names,
    keyword_only,
    keyword_only_by_annotation,
    positional_only,
    first,
    first_by_annotation,
    first_positional_only,
    third,
    with_a_default,
    after_star,
    with_keywords,
    Method().handle,
    Method(),
    functools.partial(configured, "settings"),
    wrapped(keyword_only),
    in_async,
    in_generator,
]


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


@pytest.mark.parametrize("agent", WANT, ids=_name)
async def test_context_is_passed_to_its_parameter(agent: Callable[..., Any]) -> None:
    output = (await ran(agent, {"p": 1})).output
    assert output == [True] * len(output)
    assert output


def absent(payload: Any) -> Any:
    return [payload == {"p": 1}]


def absent_with_a_default(payload: Any, temperature: float = 0.5) -> Any:
    return [payload == {"p": 1}, temperature == 0.5]


def absent_with_another_annotation(payload: Any, other: "dict[str, Any] | None" = None) -> Any:
    return [payload == {"p": 1}, other is None]


def only_stars(*arguments: Any, **keywords: Any) -> Any:
    return [arguments == ({"p": 1},), keywords == {}]


def stars_named_context(payload: Any, *context: Any) -> Any:
    return [payload == {"p": 1}, context == ()]


@pytest.mark.parametrize(
    "agent", [absent, absent_with_a_default, absent_with_another_annotation, only_stars, stars_named_context]
)
async def test_only_the_payload_is_passed_without_a_context_parameter(agent: Callable[..., Any]) -> None:
    output = (await ran(agent, {"p": 1})).output
    assert output == [True] * len(output)


def test_unreachable_context_parameter_is_rejected() -> None:
    def handler(payload: Any, extra: Any = None, context: Any = None, /) -> None: ...

    with pytest.raises(TypeError):
        HandlerAgent(handler)


async def test_postponed_annotations_are_evaluated() -> None:
    source = """
from __future__ import annotations
from typing import Optional
from dockrion import StreamContext
from dockrion import StreamContext as Emitter

def plain(payload: dict, emitter: StreamContext): return emitter.run_id
def optional(payload: dict, emitter: Optional[StreamContext] = None): return emitter.run_id
def union(payload: dict, emitter: StreamContext | None = None): return emitter.run_id
def alias(payload: dict, emitter: Emitter): return emitter.run_id
def keyword(payload: dict, *, emitter: StreamContext): return emitter.run_id
"""
    module: dict[str, Any] = {"__name__": "postponed"}
    exec(compile(source, "postponed.py", "exec", dont_inherit=True), module)
    for name in ("plain", "optional", "union", "alias", "keyword"):
        ended = await ran(module[name])
        assert ended.output == ended.run.run_id, name
