"""Where a field or a value belongs that stands in the wrong place of a Dockfile."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from dockrion.dockfile.annotations import allowed_types
from dockrion.dockfile.problems import KeyPath, dotted


class Places:
    """Knows the path of every field.

    Args:
        root: The struct of a whole document.
        keywords: The known keys of mappings that are not structs, by the mapping's key path.
    """

    def __init__(self, root: type[msgspec.Struct], keywords: Mapping[KeyPath, Iterable[str]]) -> None:
        self._root = root
        self._keywords = keywords

    def for_field(self, keys: KeyPath) -> str:
        """Return `; put it under …` for an unknown field that exists in another section, else nothing."""
        section, name = keys[:-1], keys[-1]
        found = [path for path, _ in self._fields() if path[-1] == name]
        found = [path for path in found if path[: len(section)] == section] or found
        shortest = min(map(len, found), default=0)
        nearest = [path for path in found if len(path) == shortest]
        if len(nearest) != 1 and not self._alike(nearest):
            return ""
        place = nearest[0][:-1]
        relative = place[len(section) :] if place[: len(section)] == section else place
        return f"; put it under {dotted(relative)}" if relative else ""

    def for_value(self, keys: KeyPath, value: Any) -> str:
        """Return `, did you mean …?` for a value, in place of a section, that another field takes."""
        for path, annotation in self._fields():
            choices = [each.base for each in allowed_types(annotation) if get_origin(each.base) is Literal]
            takes_value = any(value in get_args(choice) for choice in choices)
            if takes_value and (path[:-1] == keys or path[-1] == keys[-1]):
                return f", did you mean {dotted(path)}?"
        return ""

    def _alike(self, paths: list[KeyPath]) -> bool:
        """Return whether paths lead to the same keyword of several schemas; the first is the one to name."""
        return bool(paths) and all(path[:-1] in self._keywords for path in paths)

    def _fields(self) -> Iterator[tuple[KeyPath, Any]]:
        yield from _fields(self._root, ())
        for keys, names in self._keywords.items():
            yield from (((*keys, name), Any) for name in names)


def _fields(section: type[msgspec.Struct], keys: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for field in msgspec.structs.fields(section):
        path = (*keys, field.encode_name)
        yield path, field.type
        for each in allowed_types(field.type):
            if each.section is not None:
                yield from _fields(each.section, path)
