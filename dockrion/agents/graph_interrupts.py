"""Interrupts of graphs as questions to a person: `arguments.interrupts: wait`."""

from collections.abc import Mapping
from typing import Any

from dockrion.json_encoding import encode
from dockrion.runs.question import Question

_QUESTION_FIELDS = {"prompt", "schema"}


def question(interrupt: Any) -> Question:
    """Return the question for an interrupt.

    Args:
        interrupt: An `Interrupt` of LangGraph. Its value is the prompt, as JSON unless it is text; or a
            mapping of `prompt` and, optionally, the `schema` of the answer, in place of `response_schema`.
    """
    value, schema = interrupt.value, getattr(interrupt, "response_schema", None)
    if isinstance(value, Mapping) and "prompt" in value and value.keys() <= _QUESTION_FIELDS:
        value, schema = value["prompt"], value.get("schema", schema)
    prompt = value if isinstance(value, str) else encode(value, "interrupt").decode()
    return Question(prompt, schema=schema if isinstance(schema, Mapping) else None)
