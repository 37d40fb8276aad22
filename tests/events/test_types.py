"""Event types, and the names of custom events and their fields."""

import pytest

from dockrion import events
from dockrion.events import COMMON_FIELDS, CONFIGURABLE, MANDATORY, TERMINAL

TYPES = {
    *("progress", "token", "message", "reasoning", "tool_call", "tool_result", "usage"),
    *("input_requested", "input_received", "step", "checkpoint", "heartbeat"),
}
MANDATORY_TYPES = {"started", "complete", "error", "cancelled"}
BAD_NAMES = ["", "1a", "a-b", "a b", "a.b", "\xe9", "a\n", "custom:a", "a:b", "a\u0660"]


def test_types_are_those_of_the_contract() -> None:
    assert set(CONFIGURABLE) == TYPES
    assert set(MANDATORY) == MANDATORY_TYPES
    assert {"complete", "error", "cancelled"} == TERMINAL
    assert COMMON_FIELDS == ("id", "type", "run_id", "sequence", "timestamp")


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name != "custom:a"])
@pytest.mark.parametrize("prefix", ["", "custom:"])
def test_malformed_custom_name_is_rejected(prefix: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"\^\[a-zA-Z_\]\[a-zA-Z0-9_\]\*\$"):
        events.custom_type(prefix + name)


@pytest.mark.parametrize("name", ["a", "_", "A1_b", "token", "complete", "x" * 1_000])
@pytest.mark.parametrize("prefix", ["", "custom:"])
def test_custom_prefix_is_added_once(prefix: str, name: str) -> None:
    assert events.custom_type(prefix + name) == f"custom:{name}"


@pytest.mark.parametrize("name", COMMON_FIELDS)
def test_custom_field_with_a_common_name_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        events.check_custom_fields({"fine": 1, name: 2})


@pytest.mark.parametrize("name", [1, None, ("a",), b"a", 1.5])
def test_custom_field_name_must_be_a_string(name: object) -> None:
    with pytest.raises(ValueError, match="is not a string"):
        events.check_custom_fields({name: 1})


def test_other_custom_field_names_are_accepted() -> None:
    events.check_custom_fields({"data": 1, "content": 2, "": 3, "ID": 4, "a b": 5})
