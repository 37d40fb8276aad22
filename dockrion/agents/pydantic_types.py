"""Types that pydantic defines, as JSON. Imported only where the agent has imported pydantic."""

from typing import Any

import pydantic
import pydantic_core

from dockrion.agents.json_types import MAX_LISTED, ConversionError, Role, checked
from dockrion.json_schema import Violation, json_path


class PydanticType:
    """A type that pydantic converts.

    Args:
        annotation: The type.

    Raises:
        Exception: pydantic does not support it.
    """

    def __init__(self, annotation: Any) -> None:
        self._adapter = pydantic.TypeAdapter(annotation)
        config = getattr(annotation, "model_config", {})
        self._encoded_by_alias = bool(config.get("serialize_by_alias"))

    def schema(self, role: Role) -> dict[str, Any]:
        if role == "input":
            return checked(self._adapter.json_schema())
        # As `json_encoding` encodes models: fields have their aliases only where the model says so.
        by_alias = self._encoded_by_alias
        return checked(self._adapter.json_schema(by_alias=by_alias, mode="serialization"))

    def convert(self, value: Any, size: int) -> Any:  # noqa: ARG002
        try:
            # From JSON, as strict models take text for dates, UUIDs, bytes etc. from nothing else.
            return self._adapter.validate_json(pydantic_core.to_json(value))
        except pydantic.ValidationError as error:
            if (count := error.error_count()) > MAX_LISTED:
                raise ConversionError([Violation("$", f"{count} parts of it are invalid")]) from None
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise ConversionError([_violation(each, value) for each in errors]) from None


def _violation(error: Any, value: Any) -> Violation:
    steps: list[str | int] = []
    for step in error["loc"]:
        if _has(value, step):  # others are members of a union
            value = value[step]
            steps.append(step)
    if error["type"] == "missing":
        steps.append(error["loc"][-1])
    return Violation(json_path(steps), error["msg"])


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and step in range(len(value))
