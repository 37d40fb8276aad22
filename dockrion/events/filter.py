"""Which events of a run are emitted: the Dockfile's `streaming.events.allowed`."""

from collections.abc import Iterable

from dockrion.events.types import CONFIGURABLE, CUSTOM_PREFIX, MANDATORY, custom_type

PRESETS: dict[str, frozenset[str]] = {
    "minimal": frozenset(),
    "chat": frozenset({"token"}),
    "debug": frozenset(CONFIGURABLE),
    "all": frozenset({*CONFIGURABLE, "custom"}),
}


class EventFilter:
    """Decides by type which events of a run are emitted.

    Args:
        allowed: A preset's name, a list of types, or None for all of them. In a list
            `custom` is every custom event and `custom:<name>` is that one.

    Raises:
        ValueError: A preset or a type is unknown, or a custom name is malformed.
    """

    def __init__(self, allowed: str | Iterable[str] | None = None) -> None:
        if allowed is None:
            allowed = "all"
        if isinstance(allowed, str):
            if allowed not in PRESETS:
                raise ValueError(f"unknown preset {allowed!r}; the presets are {', '.join(PRESETS)}")
            allowed = PRESETS[allowed]
        self._types = {*map(_checked_type, allowed), *MANDATORY}
        self._all_custom = "custom" in self._types

    @property
    def passes_any(self) -> bool:
        """Whether any event that agents may emit passes."""
        return self._types > MANDATORY.keys()

    @property
    def passes_custom(self) -> bool:
        """Whether any custom event passes."""
        return any(name.startswith("custom") for name in self._types)

    def allows(self, event_type: str) -> bool:
        return event_type in self._types or (self._all_custom and event_type.startswith(CUSTOM_PREFIX))

    def __repr__(self) -> str:
        return f"EventFilter({sorted(self._types)})"


def _checked_type(event_type: str) -> str:
    if event_type in MANDATORY or event_type in CONFIGURABLE or event_type == "custom":
        return event_type
    if event_type.startswith(CUSTOM_PREFIX):
        return custom_type(event_type)
    known = [*CONFIGURABLE, "custom", "custom:<name>"]
    raise ValueError(f"unknown event type {event_type!r}; the types are {', '.join(known)}")
