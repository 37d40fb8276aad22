"""Annotations that declare nothing, or that are ignored with a reason."""

import dataclasses
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pydantic
import pytest

from dockrion import StreamContext
from dockrion.agents.handler import ObjectAgent
from dockrion.agents.handler_types import HandlerTypes
from dockrion.dockfile.agent_structs import IoSchemaSpec
from tests.agents.test_handler_types import NOTHING, SCHEMA, T, returning, taking, title, types_of
from tests.agents.typed import Answer, Cat, Order, Plain, Point, Question

if TYPE_CHECKING:
    from decimal import Context as Unknown


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
