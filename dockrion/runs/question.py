"""A question of an agent, validated, and what its answer has to be."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import msgspec

from dockrion import json_encoding
from dockrion.errors import InvalidRequest, PayloadTooLarge
from dockrion.ids import RUN_ID_FORM, RUN_ID_PATTERN
from dockrion.json_schema import Schema, expanded_size, json_path
from dockrion.redaction import Redactor

MAX_QUESTION_BYTES = 64 * 1024  # of a prompt and its schema, as JSON
MAX_ANSWER_BYTES = 256 * 1024  # as JSON
MAX_TIMEOUT = 7 * 86_400  # seconds
_MIN_TIMEOUT = 0.001  # seconds: of a question that has expired already
_ENVELOPE_BYTES = 512  # reserved for the other fields of an event
_MAX_VIOLATIONS = 100
# Validating cannot be interrupted. It takes up to a second for this product of the size of the value, in
# bytes, and the size of the schema.
_MAX_EVALUATION = 30_000_000


class InputTimeout(TimeoutError):
    """Raised in the agent when a question was not answered in time."""


def is_secret(schema: Any) -> bool:
    """Return whether nobody but the agent may see an answer of this schema (JSON Schema Validation, 9.4)."""
    return isinstance(schema, Mapping) and schema.get("writeOnly") is True


class Question(msgspec.Struct, frozen=True):
    """What an agent asks a person.

    Attributes:
        prompt: The question, as text.
        schema: JSON Schema of the answer, None for any JSON value.
        timeout: Seconds to wait for the answer, None for as long as the run may take.
        secret: Nobody but the agent may see the answer.
        request_id: The question's id, None for a new one.
    """

    prompt: str
    schema: Mapping[str, Any] | None = None
    timeout: float | None = None
    secret: bool = False
    request_id: str | None = None

    def validated(self, max_event_bytes: int) -> "Expected":
        """Check it, and return what its answer has to be.

        Args:
            max_event_bytes: The size limit of an event.

        Raises:
            TypeError: A field is of the wrong type.
            ValueError: A field is invalid.
        """
        if not isinstance(self.prompt, str):
            raise TypeError(f"prompt must be a string, not {type(self.prompt).__name__}")
        if self.schema is not None and not isinstance(self.schema, Mapping):
            raise TypeError(f"schema must be a JSON Schema, a mapping, not {type(self.schema).__name__}")
        if self.timeout is not None:
            _check_timeout(self.timeout)
        if self.request_id is not None and not RUN_ID_PATTERN.fullmatch(self.request_id):
            raise ValueError(f"request_id must consist of {RUN_ID_FORM}")
        encoded = json_encoding.encode(self.schema, "schema")
        size = len(encoded) + len(json_encoding.encode(self.prompt, "prompt"))
        limit = min(MAX_QUESTION_BYTES, max_event_bytes - _ENVELOPE_BYTES)
        if size > limit:
            raise ValueError(f"prompt and schema have {size} bytes as JSON, more than the limit of {limit}")
        schema, schema_size = None, 0
        if self.schema is not None:
            schema, schema_size = _compiled(encoded, secret=self.secret)
        # The answer to a question about a secret is in no event.
        limit = MAX_ANSWER_BYTES if self.secret else min(MAX_ANSWER_BYTES, max_event_bytes - _ENVELOPE_BYTES)
        return Expected(schema, schema_size, limit)


class Expected(msgspec.Struct, frozen=True):
    """What the answer to a question has to be.

    Attributes:
        schema: Validates it, None if every answer is valid.
        schema_size: The size of the schema, references expanded.
        max_bytes: The size limit of the answer, as JSON.
    """

    schema: Schema | None
    schema_size: int
    max_bytes: int

    def check(self, value: Any) -> None:
        """Check an answer.

        Args:
            value: The answer, a decoded JSON value.

        Raises:
            InvalidRequest: It does not match the schema; `details` lists the violations.
            PayloadTooLarge: It is too large.
        """
        size = check_size(value, self.max_bytes)
        if self.schema is None:
            return
        if size * self.schema_size > _MAX_EVALUATION:
            raise PayloadTooLarge(f"the value has {size} bytes as JSON, too many for the question's schema")
        if violations := self.schema.violations(value, size):
            raise InvalidRequest(
                "the value does not match the schema of the question", details=violations[:_MAX_VIOLATIONS]
            )


def new_request_id() -> str:
    return f"ask_{os.urandom(8).hex()}"


def check_size(value: Any, limit: int = MAX_ANSWER_BYTES) -> int:
    """Return the size of an answer as JSON, in bytes.

    Raises:
        PayloadTooLarge: It is over the limit.
    """
    size = len(json_encoding.encode(value))
    if size > limit:
        raise PayloadTooLarge(f"the value has {size} bytes as JSON; the limit is {limit}")
    return size


def _compiled(encoded: bytes, *, secret: bool) -> tuple[Schema, int]:
    """Return a schema and its size, references expanded."""
    try:
        schema = Schema(msgspec.json.decode(encoded), Redactor(), confidential=secret, bounded=True)
        return schema, expanded_size(schema.definition)
    except jsonschema_rs.ValidationError as error:
        problem = f"{json_path(error.instance_path)}: {error.message}"
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        problem = str(error)
    raise ValueError(f"schema is not a valid JSON Schema: {problem:.500}")


def seconds_until(moment: datetime) -> float:
    """Return the timeout of a question that another service asks until a moment, which may be past."""
    return min(max((moment - datetime.now(UTC)).total_seconds(), _MIN_TIMEOUT), MAX_TIMEOUT)


def _check_timeout(timeout: float) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be more than 0 and at most {MAX_TIMEOUT} seconds, not {timeout}")
