"""Python types as JSON: the schema that describes a type, and the conversion of JSON values to it.

msgspec converts structs, dataclasses, `TypedDict`s, named tuples, enums, containers and scalars. Types that
pydantic defines are converted by pydantic, which is used only where the agent has imported it.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Protocol,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

from dockrion import json_encoding
from dockrion.dockfile.schemas import subschemas
from dockrion.json_schema import MAX_LISTED_BYTES, Violation, compiled, json_path

_DEFINITIONS = "#/$defs/"
_AT = re.compile(r" - at (?:`key` in )?`\$(.*)`$")  # where msgspec's messages end in a path
_QUALIFIERS = (Required, NotRequired)
_Path = list[str | int]
MAX_LISTED = 1000  # violations; finding one takes about 20 µs, and cannot be interrupted
_MAX_LISTED_DEPTH = 16  # each level of a value is converted once more to find its violations
Role = Literal["input", "output"]


class ConversionError(ValueError):
    """A value cannot be converted to a type.

    Args:
        violations: Why not.
    """

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(f"{each.path}: {each.message}" for each in violations))
        self.violations = violations


class JsonType(Protocol):
    """A Python type as JSON."""

    def schema(self, role: Role) -> dict[str, Any]:
        """Return the JSON Schema of the values that are converted to it, or of its values as output.

        Raises:
            Exception: It has none.
        """

    def convert(self, value: Any, size: int) -> Any:
        """Convert a JSON value to it.

        Args:
            value: The value, decoded.
            size: Its length as JSON, in bytes.

        Raises:
            ConversionError: It is no value of this type.
            Exception: Whatever the type's own code raises that does not refuse the value.
        """


def json_type(annotation: Any) -> JsonType:
    """Return the type of an annotation.

    Raises:
        Exception: It has no JSON form.
    """
    while hasattr(annotation, "__value__"):  # `type Name = …` (PEP 695)
        annotation = annotation.__value__
    pydantic = sys.modules.get("pydantic")
    if hasattr(pydantic, "TypeAdapter") and any(map(_is_of_pydantic, _components(annotation, set()))):
        from dockrion.agents.pydantic_types import PydanticType  # noqa: PLC0415  only if pydantic is there

        return PydanticType(annotation)
    return _MsgspecType(annotation)


def checked(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a generated schema as the Dockfile could have it: valid, of JSON values only.

    Its root is the definition that it refers to, as in `{"$ref": "#/$defs/Question", …}`, because generators
    of clients and forms take a root that is only a reference for no type.

    Raises:
        ValueError: It is invalid.
    """
    for _, part in subschemas(schema, ()):
        if isinstance(default := part.get("default"), float) and not math.isfinite(default):
            del part["default"]  # JSON has no such number
    root: dict[str, Any] = msgspec.json.decode(json_encoding.encode(schema, "schema"))
    definitions = root.pop("$defs", {})
    while (name := root.get("$ref", "").removeprefix(_DEFINITIONS)) in definitions:
        del root["$ref"]
        root = definitions.pop(name) | root
        _rename_references(root | {"$defs": definitions}, _DEFINITIONS + name, "#")
    root |= {"$defs": definitions} if definitions else {}
    compiled(root)
    return root


def _rename_references(schema: dict[str, Any], old: str, new: str) -> None:
    for _, part in subschemas(schema, ()):
        if part.get("$ref") == old:
            part["$ref"] = new
        mapping = part.get("discriminator", {}).get("mapping", {})
        mapping |= {tag: new for tag, target in mapping.items() if target == old}


class _MsgspecType:
    """A type that msgspec converts.

    Args:
        annotation: The type, or a union of types that msgspec does not tell apart. Of these a value is
            converted to the first that takes it.

    Raises:
        Exception: msgspec does not support it.
    """

    def __init__(self, annotation: Any) -> None:
        try:
            self._use((annotation,))
        except TypeError:
            if not is_union(annotation):
                raise
            self._use(get_args(annotation))

    def _use(self, alternatives: Sequence[Any]) -> None:
        self._alternatives = alternatives
        self._roots, self._definitions = msgspec.json.schema_components(
            alternatives, ref_template=_DEFINITIONS + "{name}"
        )

    def schema(self, role: Role) -> dict[str, Any]:
        if role == "input":
            _refuse_computed_fields(self._alternatives)
        root = self._roots[0] if len(self._roots) == 1 else {"anyOf": list(self._roots)}
        schema = checked({**root, "$defs": self._definitions})
        for _, part in subschemas(schema, ()) if role == "input" else ():
            if part.get("format") == "decimal":
                part["type"] = ["string", "number"]  # it converts both, and encodes decimals as text
        return schema

    def convert(self, value: Any, size: int) -> Any:
        violations = []
        for each in self._alternatives:
            try:
                return _convert(value, each)
            except msgspec.ValidationError as error:
                found = _violations(value, each, []) if size <= MAX_LISTED_BYTES else ()
                violations += [*islice(found, MAX_LISTED)] or [_violation(error, [])]
        raise ConversionError(violations)


def _convert(value: Any, kind: Any) -> Any:
    return msgspec.convert(value, kind, str_keys=True)


def _violations(value: Any, kind: Any, path: _Path) -> Iterator[Violation]:
    """Yield all violations where msgspec reports the first one only."""
    try:
        _convert(value, kind)
    except msgspec.ValidationError as error:
        own = _violation(error, path)
    except Exception:  # raised by the type's own code, or because msgspec knows the type as a part only
        return
    else:
        return
    parts = _parts(value, kind) if len(path) < _MAX_LISTED_DEPTH else ()
    found = False
    for step, part, part_kind in parts:
        for each in _violations(part, part_kind, [*path, step]):
            found = True
            yield each
    if not found:
        yield own


def _violation(error: msgspec.ValidationError, path: _Path) -> Violation:
    message = str(error)
    found = _AT.search(message)
    return Violation(json_path(path) + (found[1] if found else ""), _AT.sub("", message))


def _parts(value: Any, kind: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Yield the parts of a value, each with the step that leads to it and its type, if that is known."""
    kind = bare(kind)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if is_union(kind):
        others = [each for each in arguments if each is not NoneType]
        if len(others) == 1:
            yield from _parts(value, others[0])
    elif isinstance(value, list) and _is_class(origin, Sequence, AbstractSet) and arguments:
        fixed = origin is tuple and arguments[-1] is not ...
        of = arguments if fixed else [arguments[0]] * len(value)
        yield from zip(range(len(value)), value, of, strict=False)
    elif isinstance(value, dict) and _is_class(origin, Mapping) and arguments:
        yield from ((name, part, arguments[-1]) for name, part in value.items())
    elif isinstance(value, dict) and _has_fields(origin):
        fields = _fields(kind)
        yield from ((name, part, fields[name]) for name, part in value.items() if name in fields)


def _is_class(kind: Any, *bases: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, bases)


def bare(kind: Any) -> Any:
    """Return a type without `Annotated`, `Required` and `NotRequired`; for the name of a type, its value."""
    while True:
        if hasattr(kind, "__metadata__") or get_origin(kind) in _QUALIFIERS:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__value__"):  # as in `json_type`
            kind = kind.__value__
        else:
            return kind


def is_union(kind: Any) -> bool:
    """Return whether a type is a union."""
    return get_origin(kind) in (Union, UnionType)


def _has_fields(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "__struct_fields__")


def _fields(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a struct, dataclass or `TypedDict`, by their names in JSON."""
    if hasattr(get_origin(kind) or kind, "__struct_fields__"):
        return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    hints = get_type_hints(get_origin(kind) or kind, include_extras=True)
    return {
        name: get_args(hint)[0] if get_origin(hint) in _QUALIFIERS else hint for name, hint in hints.items()
    }


def _components(annotation: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a type, all types that it consists of, and their metadata."""
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    yield annotation
    yield from getattr(annotation, "__metadata__", ())
    parts = list(get_args(annotation))
    kind = get_origin(annotation) or annotation
    if _has_fields(kind) or hasattr(kind, "_fields"):
        parts += _field_types(kind)
    for part in parts:
        yield from _components(part, seen)


def _field_types(kind: Any) -> list[Any]:
    try:
        return list(get_type_hints(kind, include_extras=True).values())
    except Exception:  # a name that is not defined, which generating the schema reports
        return []


def _is_of_pydantic(part: Any) -> bool:
    package = str((part if isinstance(part, type) else type(part)).__module__).partition(".")[0]
    hooks = ("__get_pydantic_core_schema__", "__pydantic_core_schema__")
    return package in ("pydantic", "annotated_types") or any(hasattr(part, name) for name in hooks)


def _refuse_computed_fields(kinds: Sequence[Any]) -> None:
    """Refuse dataclasses with fields that msgspec would take from callers, although `__init__` does not."""
    for part in _components(Union[tuple(kinds)], set()):  # noqa: UP007  of several
        kind = get_origin(part) or part
        if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
            continue
        for field in dataclasses.fields(kind):
            if not field.init:
                raise TypeError(f"dataclasses with `init=False` fields are not supported: {field.name!r}")
