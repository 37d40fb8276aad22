"""Annotations of the Dockfile's fields: how fields declare their types, and how messages describe them.

A struct declares `port: Annotated[int, Meta(ge=1, le=65535), doc("The port to listen on.")] = 8080`.
Decoding, error messages ("expected an integer, 1-65535"), the guide's field table and the editors' JSON
Schema are all derived from that annotation.
"""

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from dockrion.dockfile.problems import did_you_mean, format_value
from dockrion.redaction import Redactor

_TO = "\N{EN DASH}"
_ADD_QUOTES = ": write it in quotes"


def doc(description: str) -> Meta:
    """Describe a field, for the field table and the JSON Schema."""
    return Meta(description=description)


def matching(pattern: str, description: str) -> Meta:
    """Restrict a string to a regular expression.

    Args:
        pattern: What the whole string must match, ASCII only.
        description: The expected form, as error messages put it after "expected".
    """
    ascii_only = pattern.replace(r"\w", "[A-Za-z0-9_]")
    # `$` alone would let a trailing newline pass.
    return Meta(pattern=rf"^(?:{ascii_only})$(?!\n)", extra={"form": description})


NonEmpty = Annotated[str, Meta(min_length=1)]
EnvVar = Annotated[str, matching(r"[A-Za-z_]\w*", "the name of an environment variable")]
_IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
Callable = Annotated[str, matching(_IMPORT_PATH, "module.path:callable")]
Factory = Annotated[str, matching(_IMPORT_PATH, "module.path:factory")]


class AllowedType(NamedTuple):
    """One of the types that an annotation allows.

    Attributes:
        base: The type without its constraints: `int`, `list[str]`, `Literal["a"]`.
        metas: Its constraints and its description.
    """

    base: Any
    metas: tuple[Meta, ...]

    def constraint(self, name: str) -> Any:
        """Return the value of an attribute of `msgspec.Meta`, or None if no annotation sets it."""
        return next((value for meta in self.metas if (value := getattr(meta, name)) is not None), None)

    @property
    def section(self) -> type[msgspec.Struct] | None:
        """The struct class if the type is a section, else None."""
        return self.base if isinstance(self.base, type) and issubclass(self.base, msgspec.Struct) else None


def allowed_types(annotation: Any, metas: tuple[Meta, ...] = ()) -> Iterator[AllowedType]:
    """Yield the types that an annotation allows, without null."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from allowed_types(parts[0], metas + parts[1:])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from allowed_types(part, metas)
    elif annotation is not NoneType:
        yield AllowedType(annotation, metas)


def describe_type(annotation: Any) -> str:
    """Describe in words what a field accepts."""
    return " or ".join(map(_describe, allowed_types(annotation)))


def describe_mismatch(annotation: Any, value: Any, redactor: Redactor) -> str:
    """Return an error message: what a field expects, and the value it got.

    Args:
        annotation: The field's type.
        value: The value that does not match it.
        redactor: Masks secrets in the value.
    """
    accepted = list(allowed_types(annotation))
    got = format_value(value, redactor)
    message = f"expected {' or '.join(_expectation(each, value) for each in accepted)}, got {got}"
    choices = [
        choice for each in accepted if get_origin(each.base) is Literal for choice in get_args(each.base)
    ]
    if isinstance(value, str):
        return message + did_you_mean(value, choices if len(choices) > 1 else [])
    accepts_any_string = any(each.base is str and not each.constraint("extra") for each in accepted)
    is_unquoted_string = (accepts_any_string and isinstance(value, int | float)) or got in choices
    return message + _ADD_QUOTES if is_unquoted_string else message


def _describe(allowed: AllowedType) -> str:
    if extra := allowed.constraint("extra"):
        return str(extra["form"])
    if allowed.section:
        return "a mapping"
    base, parts = get_origin(allowed.base) or allowed.base, get_args(allowed.base)
    if base is bool:
        return "true or false"
    if base is int:
        return f"an integer, {_describe_range(allowed)}"
    if base is float:
        return f"a number, {_describe_range(allowed)}"
    if base is str:
        return "a non-empty string" if allowed.constraint("min_length") else "a string"
    if base is Literal:
        return f"one of {', '.join(parts)}" if len(parts) > 1 else json.dumps(parts[0])
    if base is list:
        return f"a list{_describe_items(parts[0])}"
    if base is dict:
        return f"a mapping{_describe_items(parts[1])}"
    return "anything"


def _describe_items(annotation: Any) -> str:
    (item,) = allowed_types(annotation)
    if item.section:
        return " of mappings"
    if item.base is str and not item.constraint("extra"):
        return " of strings"
    return "" if item.base is Any else f", each {_describe(item)}"


def _expectation(allowed: AllowedType, value: Any) -> str:
    """Describe what a value violates: only the range when it has the right type."""
    is_number = type(value) is allowed.base or (allowed.base is float and type(value) is int)
    return _describe_range(allowed) if allowed.base in (int, float) and is_number else _describe(allowed)


def _describe_range(allowed: AllowedType) -> str:
    low, high = allowed.constraint("ge"), allowed.constraint("le")
    return f"at least {low}" if high is None else f"{low}{_TO}{high}"
