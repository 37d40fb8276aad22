"""Values against the JSON Schemas of the Dockfile."""

from typing import Any

import jsonschema_rs
import msgspec

from dockrion.redaction import Redactor

# Listing takes about 12 µs a violation and cannot be interrupted: a hostile body of 10 MiB
# would hold the event loop for a minute.
_LIST_ALL_BYTES = 64 * 1024
_MAX_MESSAGE = 300


def refuse_remote(uri: str) -> Any:
    """Refuse to load a schema from elsewhere: neither the network nor files are looked at.

    Args:
        uri: What a `$ref` points to.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{uri} is not in this schema")


class Violation(msgspec.Struct, frozen=True):
    """One way in which a value breaks a schema.

    Attributes:
        path: Where in the value, such as `$.items[2].name`.
        message: What is wrong there.
    """

    path: str
    message: str


class Schema:
    """A JSON Schema, compiled once. References outside of it are refused, never fetched.

    Args:
        schema: The schema; the Dockfile's loading has checked it.
        redactor: Masks secrets in what is said of values.
    """

    def __init__(self, schema: dict[str, Any], redactor: Redactor) -> None:
        self._redactor = redactor
        self._validator = jsonschema_rs.validator_for(schema, retriever=refuse_remote)

    def violations(self, value: Any, size: int) -> list[Violation]:
        """Return every way in which a JSON value breaks the schema; of a large value, the first.

        Args:
            value: The decoded value.
            size: Its length as JSON, in bytes.
        """
        try:
            if self._validator.is_valid(value):
                return []
            if size <= _LIST_ALL_BYTES:
                return [self._violation(error) for error in self._validator.iter_errors(value)]
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [self._violation(error)]
        except ValueError as error:  # how the validator says that a value is nested too deeply
            return [Violation("$", str(error))]
        return []

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        # Masked before it is cut: the beginning of a secret is not recognised.
        return Violation(json_path(error.instance_path), self._redactor.mask(error.message)[:_MAX_MESSAGE])


def json_path(steps: list[str | int]) -> str:
    """Return where a part of a JSON value is, such as `$.items[2].name`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
