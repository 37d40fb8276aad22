"""Scalars by the core schema of YAML 1.2 (10.3.2): which plain text is null, a boolean, a number or a string.

PyYAML implements YAML 1.1, by which `no` is false, `010` is eight, `12:30` is 750, and `1e3` is a string.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

CORE = "tag:yaml.org,2002:"
_MAX_BITS = 64
_TOO_LARGE = f"integer of more than {_MAX_BITS} bits"
_LEGACY_BOOLEANS = {
    spelling: value
    for name, value in (("yes", True), ("on", True), ("no", False), ("off", False))
    for spelling in (name, name.title(), name.upper())
}


class _ScalarType(NamedTuple):
    """The form of a type's scalars, and how they are read."""

    pattern: re.Pattern[str]
    read: Callable[[str], Any]


def _boolean(text: str) -> bool:
    return text.lower() == "true"


def _integer(text: str) -> int:
    bases = {"0o": 8, "0x": 16}
    return int(text[2:], bases[text[:2]]) if text[:2] in bases else int(text)


def _float(text: str) -> float:
    return float(re.sub(r"\.(?=[a-z])", "", text.lower()))  # Python knows `inf`, not `.inf`


_TYPES = {
    "null": _ScalarType(re.compile(r"(~|null|Null|NULL|)\Z"), lambda _text: None),
    "bool": _ScalarType(re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), _boolean),
    "int": _ScalarType(re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), _integer),
    "float": _ScalarType(
        re.compile(
            r"""( [-+]? (\.[0-9]+ | [0-9]+ (\.[0-9]*)?) ([eE][-+]?[0-9]+)?
                | [-+]? \.(inf|Inf|INF)
                | \.(nan|NaN|NAN)
                )\Z""",
            re.VERBOSE,
        ),
        _float,
    ),
    "merge": _ScalarType(re.compile(r"<<\Z"), str),  # from YAML 1.1, in common use with anchors
}


class Loader(yaml.SafeLoader):
    """PyYAML's loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012  declared so by PyYAML
        None: [(CORE + name, scalar_type.pattern) for name, scalar_type in _TYPES.items()]
    }


def read_scalar(node: yaml.ScalarNode) -> Any:
    """Return the value of a scalar.

    Raises:
        ValueError: It is invalid; the message says why.
    """
    name, text = node.tag.removeprefix(CORE), node.value
    if name == "str":
        if not is_unicode(text):
            raise ValueError("not valid Unicode")
        return text
    if name not in _TYPES:
        raise ValueError("tags are not supported")
    scalar_type = _TYPES[name]
    if not scalar_type.pattern.match(text):
        raise ValueError(f"not a valid {name}")
    try:
        value = scalar_type.read(text)
    except ValueError:  # more digits than Python converts
        raise ValueError(_TOO_LARGE) from None
    if isinstance(value, int) and value.bit_length() >= _MAX_BITS:
        raise ValueError(_TOO_LARGE)
    return value


def legacy_boolean(text: str) -> bool | None:
    """Return the boolean that a plain scalar is in YAML 1.1 but not in 1.2, or None if it is none."""
    return _LEGACY_BOOLEANS.get(text)


def is_unicode(text: str) -> bool:
    """Return whether text has no lone surrogates, which escapes and undecodable bytes can produce."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
