"""Validation of values against the Dockfile's JSON Schemas."""

from typing import Any

import jsonschema_rs
import msgspec

from dockrion.redaction import Redactor

# Collecting violations takes about 12 µs each and cannot be interrupted: for a hostile body of
# 10 MiB it would block the event loop for a minute.
_MAX_LISTED_BYTES = 64 * 1024
_MAX_MESSAGE = 300  # characters


def refuse_remote(uri: str) -> Any:
    """Refuse to load a schema from the network or a file.

    Args:
        uri: The target of a `$ref`.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{uri} is not in this schema")


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

    Attributes:
        definition: The schema.
    """

    def __init__(self, schema: dict[str, Any], redactor: Redactor) -> None:
        self.definition = schema
        self._redactor = redactor
        self._validator = jsonschema_rs.validator_for(schema, retriever=refuse_remote)

    def violations(self, value: Any, size: int) -> list[Violation]:
        """Return all violations by a JSON value, or only the first if the value is large.

        Args:
            value: The decoded value.
            size: Its length as JSON, in bytes.
        """
        try:
            if self._validator.is_valid(value):
                return []
            if size <= _MAX_LISTED_BYTES:
                return [self._violation(error) for error in self._validator.iter_errors(value)]
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [self._violation(error)]
        except ValueError as error:  # raised for a value that is nested too deeply
            return [Violation("$", str(error))]
        return []

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        # Masked before it is truncated: the beginning of a secret is not recognized.
        return Violation(json_path(error.instance_path), self._redactor.mask(error.message)[:_MAX_MESSAGE])


def json_path(steps: list[str | int]) -> str:
    """Return the JSONPath of a part of a value, such as `$.items[2].name`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
