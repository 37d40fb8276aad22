"""What a field expects, in words: for error messages and for the README's table.

A field's type is the annotation that its struct has: `Annotated[int, Meta(ge=1)] | None`.
"""

import json
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from dockrion.dockfile.problems import cut, one_line
from dockrion.redaction import Redactor

_TO = "\N{EN DASH}"
_IN_QUOTES = ": write it in quotes"


class Kind(NamedTuple):
    """One of the types that an annotation allows.

    Args:
        base: The type itself: `int`, `list[str]`, `Literal["a"]`.
        metas: Its limits and its description.
    """

    base: Any
    metas: tuple[Meta, ...]

    def limit(self, name: str) -> Any:
        """Return a limit, or None."""
        return next((value for meta in self.metas if (value := getattr(meta, name)) is not None), None)

    @property
    def section(self) -> type[msgspec.Struct] | None:
        """The struct, if it is one."""
        return self.base if isinstance(self.base, type) and issubclass(self.base, msgspec.Struct) else None


def kinds(annotation: Any, metas: tuple[Meta, ...] = ()) -> Iterator[Kind]:
    """Yield the types that an annotation allows; null is left out."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from kinds(parts[0], metas + parts[1:])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from kinds(part, metas)
    elif annotation is not NoneType:
        yield Kind(annotation, metas)


def rule(annotation: Any) -> str:
    """Say what a field accepts."""
    return " or ".join(map(_rule, kinds(annotation)))


def mismatch(annotation: Any, value: Any, redactor: Redactor) -> str:
    """Say what a field expects and what it got instead.

    Args:
        annotation: The field's type.
        value: What does not fit it.
        redactor: Hides secrets in the value.
    """
    accepted = list(kinds(annotation))
    got = shown(value, redactor)
    message = f"expected {' or '.join(_broken(kind, value) for kind in accepted)}, got {got}"
    choices = [
        choice for kind in accepted if get_origin(kind.base) is Literal for choice in get_args(kind.base)
    ]
    if isinstance(value, str):
        return message + suggestion(value, choices if len(choices) > 1 else [])
    takes_any_text = any(kind.base is str and not kind.limit("extra") for kind in accepted)
    is_bare_text = takes_any_text and isinstance(value, int | float)
    return message + _IN_QUOTES if is_bare_text or got in choices else message


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` if a known name resembles the name, else nothing."""
    by_lower = {each.lower(): each for each in known}
    from difflib import get_close_matches  # noqa: PLC0415  a sound Dockfile does without

    close = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[close[0]]}?" if close else ""


def shown(value: Any, redactor: Redactor) -> str:
    """Return a value as messages show it: as JSON, secrets masked, on one short line."""
    # Masked before it is cut: the beginning of a secret is no longer recognised.
    text = redactor.mask(json.dumps(redactor.mask_value(value), ensure_ascii=False, default=str))
    return cut(one_line(text))


def _rule(kind: Kind) -> str:
    if extra := kind.limit("extra"):
        return str(extra["form"])
    if kind.section:
        return "a mapping"
    base, parts = get_origin(kind.base) or kind.base, get_args(kind.base)
    if base is bool:
        return "true or false"
    if base is int:
        return f"an integer, {_range(kind)}"
    if base is str:
        return "a string that is not empty" if kind.limit("min_length") else "a string"
    if base is Literal:
        return f"one of {', '.join(parts)}" if len(parts) > 1 else json.dumps(parts[0])
    if base is list:
        return f"a list{_of(parts[0])}"
    if base is dict:
        return f"a mapping{_of(parts[1])}"
    return "anything"


def _of(item: Any) -> str:
    (kind,) = kinds(item)
    if kind.section:
        return " of mappings"
    if kind.base is str and not kind.limit("extra"):
        return " of strings"
    return "" if kind.base is Any else f", each {_rule(kind)}"


def _broken(kind: Kind, value: Any) -> str:
    """Say what a value breaks: only the limits when the type itself is right."""
    return _range(kind) if kind.base is int and type(value) is int else _rule(kind)


def _range(kind: Kind) -> str:
    low, high = kind.limit("ge"), kind.limit("le")
    return f"at least {low}" if high is None else f"{low}{_TO}{high}"
