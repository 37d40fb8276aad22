"""The types that handlers declare for payloads and outputs, which become the schemas of `io_schema`."""

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from types import NoneType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from dockrion.agents.json_types import ConversionError, JsonType, bare, is_union, json_type
from dockrion.agents.signatures import RETURN, annotations_of, payload_parameter
from dockrion.dockfile.agent_structs import IoSchemaSpec
from dockrion.json_encoding import safe_str
from dockrion.json_schema import Schema
from dockrion.redaction import Redactor

_MAPPINGS = (dict, Mapping, MutableMapping)
_AWAITABLES = (Awaitable, Coroutine)
_GENERATORS = (Generator, AsyncGenerator, Iterator, AsyncIterator, AsyncIterable)
_LIBRARIES = ("langchain_core", "langchain", "langgraph")  # annotated for type checkers, called with JSON
_UNTYPED: Any = inspect.Parameter.empty


class HandlerTypes(msgspec.Struct, frozen=True):
    """What an agent takes and returns.

    Attributes:
        payload: The type that payloads are converted to; None if they are passed as they are decoded.
        io_schema: The schemas of the Dockfile, and where it has none those of the types.
        problems: What cannot be used as the code has it, such as a type that is ignored; a sentence each.
    """

    payload: JsonType | None
    io_schema: IoSchemaSpec
    problems: list[str] = []


def handler_types(callables: Sequence[Callable[..., Any]], io_schema: IoSchemaSpec) -> HandlerTypes:
    """Return the types that an agent's callables declare in their annotations.

    Args:
        callables: What is called with payloads: the callable whose output is invoked for, and others.
        io_schema: The schemas of the Dockfile, which take precedence.
    """
    callables = [each for each in callables if _package(each) not in _LIBRARIES]
    problems: list[str] = []
    payload = None
    try:
        payload, schema = _payload_type(callables, io_schema)
        io_schema = msgspec.structs.replace(io_schema, input=schema)
    except Exception as error:  # annotations are the agent's code
        problems.append(f"the type of its payload is ignored, it gets decoded JSON: {_reason(error)}")
    try:
        io_schema = msgspec.structs.replace(io_schema, output=_output_schema(callables, io_schema))
    except Exception as error:  # as above
        problems.append(f"the type of its output is ignored: {_reason(error)}")
    return HandlerTypes(payload, io_schema, problems)


def as_declared(callables: Sequence[Callable[..., Any]], payload: Any) -> Any:
    """Return a payload as the type that an agent's callables declare, without any Dockfile.

    Args:
        callables: As for `handler_types`.
        payload: The payload, a decoded JSON value.

    Raises:
        ConversionError: It does not match the type.
    """
    types = handler_types(callables, IoSchemaSpec())
    if types.payload is None or types.io_schema.input is None:
        return payload
    size = len(msgspec.json.encode(payload))
    if violations := Schema(types.io_schema.input, Redactor()).violations(payload, size):
        raise ConversionError(violations)
    return types.payload.convert(payload, size)


def _payload_type(
    callables: Sequence[Callable[..., Any]], io_schema: IoSchemaSpec
) -> tuple[JsonType | None, dict[str, Any] | None]:
    declared = [each for each in map(_payload_annotation, callables) if not is_untyped(each)]
    if not declared:
        return None, io_schema.input
    if any(each != declared[0] for each in declared):
        raise TypeError("its methods declare different ones")
    payload = json_type(declared[0])
    return payload, payload.schema("input") if io_schema.input is None else io_schema.input


def _output_schema(callables: Sequence[Callable[..., Any]], io_schema: IoSchemaSpec) -> dict[str, Any] | None:
    if io_schema.output is not None or not callables:
        return io_schema.output
    annotation = _output_annotation(callables[0])
    return None if is_untyped(annotation) else json_type(annotation).schema("output")


def _payload_annotation(function: Callable[..., Any]) -> Any:
    annotations = annotations_of(function)
    parameter = payload_parameter(function, annotations.known)
    return _UNTYPED if parameter is None else annotations.get(parameter.name, _UNTYPED)


def _output_annotation(function: Callable[..., Any]) -> Any:
    """Return the type of the output: for a generator, that of what it returns, or else of its last value."""
    annotation = annotations_of(function).get(RETURN, _UNTYPED)
    while get_origin(annotation) in _AWAITABLES:
        annotation = get_args(annotation)[-1]
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Iterable or (origin in _GENERATORS and not arguments):
        return _UNTYPED
    if origin not in _GENERATORS:
        return annotation
    yielded, *more = arguments
    if origin is Generator and not is_untyped(more[-1] if more else None):
        return more[-1]
    members = get_args(yielded) if is_union(yielded) else (yielded,)
    values = [each for each in members if each is not str]  # text is streamed, as tokens
    if not values or any(map(is_untyped, values)):
        return _UNTYPED
    return Union[tuple(values)]  # noqa: UP007  of several


def is_untyped(annotation: Any) -> bool:
    """Return whether an annotation says no more than that there is any value, or any object."""
    annotation = bare(annotation)
    if annotation in (_UNTYPED, Any, object, msgspec.Raw, None, NoneType):
        return True
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in _MAPPINGS:
        return not arguments or is_untyped(arguments[1])
    return (is_union(annotation) and all(map(is_untyped, arguments))) or _has_variable(annotation)


def _has_variable(annotation: Any) -> bool:
    return isinstance(annotation, TypeVar) or any(map(_has_variable, get_args(annotation)))


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]


def _reason(error: Exception) -> str:
    """Return what an exception says, on one line."""
    lines = safe_str(error).splitlines() or [""]
    line = lines[-1] if lines[0].endswith(":") else lines[0]  # msgspec says last which type is at fault
    return f"{type(error).__name__}: {line}"
