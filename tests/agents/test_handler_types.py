"""Which schemas the annotations of an agent's callables declare."""

import subprocess
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from dockrion.agents.handler import ObjectAgent
from dockrion.agents.handler_types import HandlerTypes, handler_types
from dockrion.dockfile.agent_structs import IoSchemaSpec
from tests.agents import typed
from tests.agents.typed import Answer, Cat, Circle, Dog, Options, Order, Page, Point, Question

T = TypeVar("T")
Name = NewType("Name", str)
NOTHING = IoSchemaSpec()


def types_of(*callables: Callable[..., Any], io_schema: IoSchemaSpec = NOTHING) -> HandlerTypes:
    return handler_types(callables, io_schema)


def taking(annotation: Any) -> HandlerTypes:
    def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = annotation
    return types_of(handle)


def returning(annotation: Any) -> HandlerTypes:
    def handle(payload: Any) -> Any: ...

    handle.__annotations__["return"] = annotation
    return types_of(handle)


def title(schema: dict[str, Any] | None) -> Any:
    return None if schema is None else schema.get("title", schema.get("type"))


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (Question, "Question"),
        (Point, "Point"),
        (Options, "Options"),
        (Order, "Order"),
        (Page[int], "Page[int]"),
        (str, "string"),
        (int, "integer"),
        (Name, "string"),
        (list[Point], "array"),
        (list, "array"),
        (dict[str, int], "object"),
        (Annotated[Question, "the question"], "Question"),
        (Annotated[int, msgspec.Meta(title="Count")], "Count"),
        (Annotated[Order, pydantic.Field(title="An order")], "An order"),
        ("Question", "Question"),
        (list["Question"], "array"),
    ],
    ids=str,
)
def test_payload_annotation_becomes_the_input_schema(annotation: Any, shape: str) -> None:
    if isinstance(annotation, str) or "Question" in str(annotation):
        typed_globals = vars(typed)
        annotation = eval(annotation, typed_globals) if isinstance(annotation, str) else annotation
    types = taking(annotation)
    assert title(types.io_schema.input) == shape
    assert types.payload is not None
    assert types.problems == []


@pytest.mark.parametrize(
    "annotation", [Point | None, str | int, Cat | Dog, Point | Circle, Order | str], ids=str
)
def test_unions_become_alternatives(annotation: Any) -> None:
    schema = taking(annotation).io_schema.input
    assert schema is not None
    assert len(schema["anyOf"]) == 2


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (Answer, "Answer"),
        (str, "string"),
        (list[Answer], "array"),
        (Awaitable[Answer], "Answer"),
        (Coroutine[Any, Any, Answer], "Answer"),
        (Coroutine[Any, Any, AsyncIterator[Answer]], "Answer"),
        (Iterator[Answer], "Answer"),
        (AsyncIterator[Answer], "Answer"),
        (AsyncGenerator[Answer, None], "Answer"),
        (Iterator[str | Answer], "Answer"),
        (Generator[Point, None, Answer], "Answer"),
        (Generator[str, None, Answer], "Answer"),
        (Generator[Answer, None, None], "Answer"),
        (Iterator[str], None),
        (AsyncIterator[str], None),
        (AsyncIterator[dict[str, Any]], None),
        (AsyncIterator[str | dict[str, Any]], None),
        (Iterator[Answer | dict[str, Any]], None),
        (Generator[str, None, None], None),
        (Iterable[Answer], None),
        (Iterator, None),
    ],
    ids=str,
)
def test_return_annotation_becomes_the_output_schema(annotation: Any, shape: str | None) -> None:
    types = returning(annotation)
    assert title(types.io_schema.output) == shape
    assert types.problems == []


@pytest.mark.parametrize(
    "function",
    [typed.answer, typed.answer_in_thread, typed.Service().invoke],
    ids=["async", "context first", "method"],
)
def test_payload_is_the_parameter_that_is_not_the_context(function: Callable[..., Any]) -> None:
    types = types_of(function)
    assert title(types.io_schema.input) == "Question"
    assert title(types.io_schema.output) == "Answer"


@pytest.mark.parametrize(
    "function",
    [typed.decorated, typed.partial, typed.instance, typed.Point],
    ids=["wraps", "partial", "instance", "class"],
)
def test_wrapped_callables_have_the_types_of_what_they_call(function: Callable[..., Any]) -> None:
    types = types_of(function)
    expected = ("integer", None) if function is typed.Point else ("Point", "Answer")
    assert (title(types.io_schema.input), title(types.io_schema.output)) == expected
    assert types.problems == []


def test_methods_that_stream_may_declare_the_payload_too() -> None:
    agent = ObjectAgent(typed.Service())
    types = types_of(*agent.callables)
    assert title(types.io_schema.input) == "Question"
    assert title(types.io_schema.output) == "Answer"


SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def test_schemas_of_the_dockfile_take_precedence() -> None:
    io_schema = IoSchemaSpec(input=SCHEMA, output=SCHEMA)
    types = types_of(typed.answer, io_schema=io_schema)
    assert types.io_schema == io_schema
    assert types.payload is not None


def test_each_schema_of_the_dockfile_takes_precedence_by_itself() -> None:
    types = types_of(typed.answer, io_schema=IoSchemaSpec(strict=False, output=SCHEMA))
    assert title(types.io_schema.input) == "Question"
    assert types.io_schema.output == SCHEMA
    assert not types.io_schema.strict


def test_postponed_annotations_are_evaluated() -> None:
    source = """
from __future__ import annotations
from tests.agents.typed import Answer, Question

async def handle(payload: Question, context) -> Answer | None: ...
"""
    module: dict[str, Any] = {"__name__": "postponed"}
    exec(compile(source, "postponed.py", "exec", dont_inherit=True), module)
    types = types_of(module["handle"])
    assert title(types.io_schema.input) == "Question"
    assert types.io_schema.output is not None
    assert len(types.io_schema.output["anyOf"]) == 2


def test_names_of_types_stand_for_the_types() -> None:
    assert title(taking(TypeAliasType("Both", tuple[int, str])).io_schema.input) == "array"
    assert taking(TypeAliasType("Anything", dict[str, object])) == HandlerTypes(None, NOTHING)


def test_pydantic_is_not_imported_for_other_types() -> None:
    """An agent without pydantic pays nothing for it."""
    code = """
import sys
from dockrion.agents.handler_types import handler_types
from dockrion.dockfile.agent_structs import IoSchemaSpec
def handle(payload: list[str]) -> str: ...
assert handler_types([handle], IoSchemaSpec()).payload is not None
assert not {"pydantic", "dockrion.agents.pydantic_types"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_literal_and_decimal_have_schemas() -> None:
    assert taking(Literal["a", "b"]).io_schema.input == {"enum": ["a", "b"]}
    assert taking(Decimal).io_schema.input == {"type": ["string", "number"], "format": "decimal"}
    assert returning(Decimal).io_schema.output == {"type": "string", "format": "decimal"}
