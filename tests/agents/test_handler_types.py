"""Which schemas the annotations of an agent's callables declare."""

import dataclasses
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
    Mapping,
    MutableMapping,
)
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from dockrion import StreamContext
from dockrion.agents.handler import ObjectAgent
from dockrion.agents.handler_types import HandlerTypes, handler_types
from dockrion.dockfile.structs import IoSchemaSpec
from tests.agents import typed
from tests.agents.typed import Answer, Cat, Circle, Dog, Options, Order, Page, Plain, Point, Question

if TYPE_CHECKING:
    from decimal import Context as Unknown

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
    "annotation",
    [
        Any,
        object,
        msgspec.Raw,
        None,
        dict,
        dict[str, Any],
        dict[str, object],
        Mapping,
        Mapping[str, Any],
        MutableMapping[str, Any],
        dict[str, Any] | None,
        Annotated[dict[str, Any], "anything"],
        T,
        list[T],  # type: ignore[valid-type]
    ],
    ids=str,
)
def test_annotations_that_say_nothing_declare_nothing(annotation: Any) -> None:
    assert taking(annotation) == HandlerTypes(None, NOTHING)
    assert returning(annotation) == HandlerTypes(None, NOTHING)


def test_absent_annotations_declare_nothing() -> None:
    assert types_of(lambda payload: payload) == HandlerTypes(None, NOTHING)
    assert types_of(lambda *payload: payload) == HandlerTypes(None, NOTHING)
    assert types_of(print) == HandlerTypes(None, NOTHING)
    assert types_of() == HandlerTypes(None, NOTHING)


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


def test_methods_that_disagree_are_untyped() -> None:
    class Torn:
        def invoke(self, payload: Question) -> Answer:
            return Answer(payload.text)

        def stream(self, payload: Point) -> Iterator[str]:
            yield str(payload)

    types = types_of(*ObjectAgent(Torn()).callables)
    assert types.payload is None
    assert types.io_schema.input is None
    assert title(types.io_schema.output) == "Answer"
    assert len(types.problems) == 1
    assert "different" in types.problems[0]


def test_methods_of_langchain_are_called_with_json() -> None:
    from langchain_core.runnables import RunnableLambda  # noqa: PLC0415  of this test only

    runnable = RunnableLambda(lambda text: text)
    types = types_of(*ObjectAgent(runnable).callables)
    assert types == HandlerTypes(None, NOTHING)


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


def unknown_payload(payload: "Unknown", context: "StreamContext") -> Answer:  # noqa: ARG001
    return Answer("")


def unknown_output(payload: Question, context: StreamContext) -> "Unknown":
    raise NotImplementedError


def test_annotation_that_cannot_be_evaluated_is_ignored_alone() -> None:
    first, second = types_of(unknown_payload), types_of(unknown_output)
    assert first.payload is None
    assert title(first.io_schema.output) == "Answer"
    reason = "NameError: name 'Unknown' is not defined"
    assert first.problems == [f"the type of its payload is ignored, it gets decoded JSON: {reason}"]
    assert second.payload is not None
    assert second.io_schema.output is None
    assert second.problems == [f"the type of its output is ignored: {reason}"]


class Callback(pydantic.BaseModel):
    done: Callable[[], None]


class Mixed(msgspec.Struct):
    order: Order


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Plain, "Plain"),
        (Callback, "Callable"),
        (Mixed, "Mixed"),
        (list[Cat | Question], "tagged"),
        (list["Unknown"], "Unknown"),
    ],
    ids=str,
)
def test_type_without_a_schema_is_ignored(annotation: Any, reason: str) -> None:
    for types in (taking(annotation), returning(annotation)):
        assert types.payload is None
        assert types.io_schema == NOTHING
        [problem] = types.problems
        assert reason in problem
        assert "\n" not in problem


@dataclasses.dataclass
class Square:
    side: int
    area: int = dataclasses.field(init=False, default=0)


def test_payload_has_no_fields_that_its_type_computes() -> None:
    types = taking(list[Square])
    assert types.payload is None
    assert types.io_schema == NOTHING
    [problem] = types.problems
    assert "`init=False`" in problem
    assert "'area'" in problem
    output = returning(Square).io_schema.output
    assert output is not None
    assert output["properties"].keys() == {"side", "area"}


def test_type_of_the_payload_is_no_problem_where_the_dockfile_has_the_schema_of_the_output() -> None:
    types = types_of(unknown_output, io_schema=IoSchemaSpec(output=SCHEMA))
    assert types.problems == []


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
from dockrion.dockfile.structs import IoSchemaSpec
def handle(payload: list[str]) -> str: ...
assert handler_types([handle], IoSchemaSpec()).payload is not None
assert not {"pydantic", "dockrion.agents.pydantic_types"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_literal_and_decimal_have_schemas() -> None:
    assert taking(Literal["a", "b"]).io_schema.input == {"enum": ["a", "b"]}
    assert taking(Decimal).io_schema.input == {"type": ["string", "number"], "format": "decimal"}
    assert returning(Decimal).io_schema.output == {"type": "string", "format": "decimal"}
