"""What `@ag-ui/client` demands of a stream: the rules of its verifier for the events that are sent here."""

from collections.abc import Iterable
from typing import Any

from ag_ui.core import Event
from pydantic import TypeAdapter

_schema: TypeAdapter[Any] = TypeAdapter(Event)
_PAIRS = {
    "TEXT_MESSAGE": ("messageId", "START", "CONTENT", "END"),
    "REASONING": ("messageId", "START", "", "END"),
    "REASONING_MESSAGE": ("messageId", "START", "CONTENT", "END"),
    "TOOL_CALL": ("toolCallId", "START", "ARGS", "END"),
    "STEP": ("stepName", "STARTED", "", "FINISHED"),
}
_RULES = {
    f"{stem}_{suffix}": (stem, name, number)
    for stem, (name, *suffixes) in _PAIRS.items()
    for number, suffix in enumerate(suffixes)
    if suffix
}
_WITHOUT_ORDER = {"TOOL_CALL_RESULT", "STATE_SNAPSHOT", "CUSTOM"}


def verify(events: Iterable[dict[str, Any]], *, ended: bool = True) -> None:
    """Check that a client accepts the events of a stream.

    Args:
        events: The events, decoded.
        ended: Whether the stream has to end with the end of a run.
    """
    opened: set[tuple[str, str]] = set()
    running, over = False, False
    for number, event in enumerate(events):
        parsed = _schema.validate_python(event)
        assert not _unknown(parsed), (event, _unknown(parsed))
        kind = event["type"]
        if kind == "RUN_STARTED":
            assert not running, event
            running, over = True, False
            opened.clear()
        elif kind == "RUN_ERROR":
            assert running or not number, event
            running, over = False, True
        elif kind == "RUN_FINISHED":
            assert running, event
            assert not opened, opened
            running, over = False, True
        else:
            assert running, event
            if kind not in _WITHOUT_ORDER:
                stem, name, place = _RULES[kind]
                key = (stem, event[name])
                assert (key in opened) == bool(place), event
                if place == 0:
                    opened.add(key)
                elif place == 2:
                    opened.remove(key)
    assert over or not ended


def _unknown(value: Any) -> dict[str, Any]:
    """Return the fields of an event that the protocol does not have, which clients remove with a warning."""
    return dict(value.__pydantic_extra__ or {})
