"""The event filter: presets, lists of types, and what is not a type."""

import pytest

from dockrion.events import PRESETS, EventFilter
from tests.events.test_types import BAD_NAMES, MANDATORY_TYPES, TYPES

CUSTOM = {"custom:a", "custom:b"}
EVERYTHING = TYPES | MANDATORY_TYPES | CUSTOM


def passing(allowed: str | list[str] | None) -> set[str]:
    events_filter = EventFilter(allowed)
    return {event_type for event_type in EVERYTHING if events_filter.allows(event_type)}


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("minimal", set()),
        ("chat", {"token"}),
        ("debug", TYPES),
        ("all", TYPES | CUSTOM),
        (None, TYPES | CUSTOM),
        ([], set()),
        (["token"], {"token"}),
        (["step", "heartbeat"], {"step", "heartbeat"}),
        (["custom"], CUSTOM),
        (["custom:a"], {"custom:a"}),
        (["custom", "custom:a"], CUSTOM),
        (["started", "complete", "error", "cancelled"], set()),
        (["complete", "token", "token"], {"token"}),
    ],
)
def test_allowed_types_pass_besides_the_mandatory(
    allowed: str | list[str] | None, expected: set[str]
) -> None:
    assert passing(allowed) == expected | MANDATORY_TYPES


def test_presets_are_those_of_the_contract() -> None:
    assert set(PRESETS) == {"minimal", "chat", "debug", "all"}


@pytest.mark.parametrize("allowed", [None, "all", ["custom"], ["token"]])
@pytest.mark.parametrize("event_type", ["tokens", "", "Token", "gap", "timeout"])
def test_unknown_type_does_not_pass(allowed: str | list[str] | None, event_type: str) -> None:
    assert not EventFilter(allowed).allows(event_type)


@pytest.mark.parametrize("preset", ["", "ALL", "tokens", "token", "custom", "minimal "])
def test_unknown_preset_is_rejected_with_a_list_of_presets(preset: str) -> None:
    with pytest.raises(ValueError, match="minimal, chat, debug, all"):
        EventFilter(preset)


@pytest.mark.parametrize("event_type", ["tokens", "", "Token", "chat", "all", "customs", " token"])
def test_unknown_type_is_rejected_with_a_list_of_types(event_type: str) -> None:
    with pytest.raises(ValueError, match=r"token.*custom:<name>"):
        EventFilter(["token", event_type])


@pytest.mark.parametrize("name", BAD_NAMES)
def test_malformed_custom_name_in_a_list_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        EventFilter([f"custom:{name}"])
