"""Validation of values against JSON Schemas: the Dockfile's, and those of questions."""

import re
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from dockrion.redaction import Redactor

# Collecting violations takes about 12 µs each and cannot be interrupted: for a hostile body of
# 10 MiB it would block the event loop for a minute.
MAX_LISTED_BYTES = 64 * 1024
MAX_MESSAGE = 300  # characters
# Of schemas that agents make: up to 0.5 ms for each text, where a pattern has look-around or back references.
_BOUNDED = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
_BACKTRACKING_SIZE = 1000  # these 0.5 ms, as states of an automaton that each take 20 ns for a byte
_MOST_STATES = 2**18  # the engine refuses larger expressions
_COMMENTS = re.compile(r"\(\?(?:#|[a-z-]*x)")
_BACKTRACKING = re.compile(r"\(\?(?:[=!>]|<[=!])|\\[1-9k]")
_PATTERN_PART = re.compile(
    r"(?P<group>\((?:\?[^)(]*?[:=!>])?)|(?P<end>\))|\{(?P<least>\d*)(?P<most>,\d*)?\}"
    r"|\\[pP]\{[^}]*\}|\\.|\[(?:\\.|[^\]\\])*\]|.",
    re.DOTALL,
)
_DYNAMIC = frozenset(["$dynamicRef", "$recursiveRef"])


def refuse_remote(uri: str) -> Any:
    """Refuse to load a schema from the network or a file.

    Args:
        uri: The target of a `$ref`.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{uri} is not in this schema")


def compiled(schema: dict[str, Any], *, bounded: bool = False) -> jsonschema_rs.Validator:
    """Compile a JSON Schema. External references are refused, never fetched.

    Args:
        schema: The schema.
        bounded: Whether to bound what its patterns may cost.

    Raises:
        ValueError: The schema is invalid.
    """
    options = _BOUNDED if bounded else None
    return jsonschema_rs.validator_for(schema, retriever=refuse_remote, pattern_options=options)


class Violation(msgspec.Struct, frozen=True):
    """One violation of a schema.

    Attributes:
        path: Its location in the value, such as `$.items[2].name`.
        message: What is wrong there.
    """

    path: str
    message: str


class Schema:
    """A compiled JSON Schema. External references are refused, never fetched.

    Args:
        schema: The schema, checked when the Dockfile was loaded.
        redactor: Masks secrets in messages that quote values.
        confidential: Values are secret: violations name the schema's rule and quote nothing.
        bounded: As for `compiled`.

    Attributes:
        definition: The schema.
    """

    def __init__(
        self,
        schema: dict[str, Any],
        redactor: Redactor,
        *,
        confidential: bool = False,
        bounded: bool = False,
    ) -> None:
        self.definition = schema
        self._confidential = confidential
        self._redactor = redactor
        self._validator = compiled(schema, bounded=bounded)

    def violations(self, value: Any, size: int) -> list[Violation]:
        """Return all violations by a JSON value, or only the first if the value is large.

        Args:
            value: The decoded value.
            size: Its length as JSON, in bytes.
        """
        try:
            if self._validator.is_valid(value):
                return []
            if size <= MAX_LISTED_BYTES:
                return [self._violation(error) for error in self._validator.iter_errors(value)]
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [self._violation(error)]
        except ValueError as error:  # raised for a value that is nested too deeply
            return [Violation("$", str(error))]
        return []

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        if self._confidential:
            rule = ".".join(map(str, error.schema_path))
            return Violation("$", f"breaks the schema's rule {rule}"[:MAX_MESSAGE])
        # Masked before it is truncated: the beginning of a secret is not recognized.
        return Violation(json_path(error.instance_path), self._redactor.mask(error.message)[:MAX_MESSAGE])


def json_path(steps: list[str | int]) -> str:
    """Return the JSONPath of a part of a value, such as `$.items[2].name`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def expanded_size(schema: dict[str, Any]) -> int:
    """Return how many JSON values a schema has with its references expanded, and how large its patterns are.

    The time that a validation takes, which cannot be interrupted, is at most proportional to it, and to the
    size of what is validated.

    Args:
        schema: A schema that compiles, `bounded`.

    Raises:
        ValueError: It refers to itself, or to other than its own parts, or is nested too deeply.
    """
    try:
        return _ExpandedSize(schema).of(schema)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def pattern_size(pattern: str) -> int:
    """Return how many states a regular expression has: its parts, each as often as it is repeated.

    Args:
        pattern: A regular expression that compiles.
    """
    if _COMMENTS.search(pattern):  # they may stand between a part and how often it is repeated
        return _MOST_STATES
    sizes, last = [1], 0  # of the groups that are open, the outermost first; of the last part
    for part in _PATTERN_PART.finditer(pattern):
        if part["group"]:
            sizes.append(0)
        elif part["end"] and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif part["least"] or part["most"]:
            more = last * (max(int(part["least"] or 0), int((part["most"] or "")[1:] or 0)) - 1)
            sizes[-1] += more
            last += more
        else:
            last = 1
            sizes[-1] += last
    return sum(sizes) + (_BACKTRACKING_SIZE if _BACKTRACKING.search(pattern) else 0)


class _ExpandedSize:
    """Counts the values of a schema, each definition once."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._sizes: dict[str, int | None] = {}  # by reference; None while it is being counted

    def of(self, value: Any) -> int:
        if isinstance(value, list):
            return 1 + sum(map(self.of, value))
        if not isinstance(value, dict):
            return 1
        size = 1
        for name, each in value.items():
            if name in _DYNAMIC:
                raise ValueError(f"{name} is not supported; use $ref")
            if name == "pattern" and isinstance(each, str):
                size += pattern_size(each)
            elif name == "patternProperties" and isinstance(each, dict):
                size += sum(map(pattern_size, each))
            is_reference = name == "$ref" and isinstance(each, str)
            size += self._of_reference(each) if is_reference else self.of(each)
        return size

    def _of_reference(self, reference: str) -> int:
        if reference not in self._sizes:
            self._sizes[reference] = None
            self._sizes[reference] = self.of(self._resolved(reference))
        size = self._sizes[reference]
        if size is None:
            raise ValueError(f"{reference} refers to itself, which is not supported")
        return size

    def _resolved(self, reference: str) -> Any:
        """Return the part of the schema that a JSON Pointer names (RFC 6901, 4 and 6)."""
        target: Any = self._schema
        base, _, pointer = reference.partition("#")
        try:
            if base or (pointer and not pointer.startswith("/")):
                raise KeyError(reference)
            for step in pointer.split("/")[1:]:
                name = unquote(step).replace("~1", "/").replace("~0", "~")
                target = target[int(name) if isinstance(target, list) else name]
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"{reference} is not a reference into this schema, such as #/$defs/name"
            ) from None
        return target
