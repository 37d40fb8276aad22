"""Plain values to structs, with every error of the file and its place."""

from collections.abc import Container, Iterable
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET

from dockrion.dockfile.annotations import kinds, mismatch, shown, suggestion
from dockrion.dockfile.problems import DockfileError, Keys, Problem, dotted, one_line
from dockrion.dockfile.yaml_source import Document
from dockrion.redaction import Redactor


class Report:
    """Collects what is wrong with one Dockfile.

    Args:
        file: What problems call the file.
        document: Knows the places.
        redactor: Hides secrets in every message.
    """

    def __init__(self, file: str, document: Document, redactor: Redactor) -> None:
        self.redactor = redactor
        self.unknown: dict[str, Any] = {}
        self._file = file
        self._document = document
        self._warnings: list[Problem] = []
        self._errors = [
            (note.keys, self._problem((note.line, note.column), note.keys, note.message))
            for note in document.notes
        ]

    @property
    def warnings(self) -> list[Problem]:
        """What is odd, in the order of the file."""
        return sorted(self._warnings, key=_place)

    def error(self, keys: Keys, message: str) -> None:
        """Note an error at a value, or at the mapping in which it is missing."""
        self._errors.append((keys, self._problem(self._document.position(keys), keys, message)))

    def unknown_field(self, keys: Keys, value: Any, known: Iterable[str]) -> None:
        """Keep a field nobody knows, and warn of it."""
        self.unknown[dotted(keys)] = value
        self.warn(keys, "unknown field" + suggestion(str(keys[-1]), known))

    def warn(self, keys: Keys, message: str) -> None:
        """Note what is odd about a field, or about the mapping in which it is missing."""
        self._warnings.append(self._problem(self._document.key_position(keys), keys, message))

    def shown(self, value: Any) -> str:
        """Return a value as messages show it."""
        return shown(value, self.redactor)

    def failed(self, keys: Keys) -> bool:
        """Tell whether there is an error at or below the keys."""
        return any(each[: len(keys)] == keys for each, _ in self._errors)

    def raise_errors(self) -> None:
        """Raise DockfileError if there are errors."""
        if self._errors:
            errors = sorted((problem for _, problem in self._errors), key=_place)
            raise DockfileError(errors, self.warnings)

    def _problem(self, place: tuple[int, int], keys: Keys, message: str) -> Problem:
        clean = self.redactor.mask
        return Problem(self._file, *place, clean(dotted(keys)), one_line(clean(message)))


class Decoder:
    """Turns plain values into structs, field by field.

    A value that cannot be decoded becomes `msgspec.UNSET`, and so does what contains it; the
    others are in `decoded`, by their keys.

    Args:
        report: Where errors and unknown fields go.
        substituted: The keys of text that came from the environment: it takes the field's type.
    """

    def __init__(self, report: Report, substituted: Container[Keys]) -> None:
        self.decoded: dict[Keys, Any] = {}
        self._report = report
        self._substituted = substituted

    def fields(self, kind: type[msgspec.Struct], value: dict[str, Any], keys: Keys) -> dict[str, Any]:
        """Decode the fields that a mapping has."""
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name, item in value.items():
            if name not in known:
                self._report.unknown_field((*keys, name), item, known)
        decoded: dict[str, Any] = {}
        for name, field in known.items():
            # A section that is null equals an omitted one.
            if name not in value or (value[name] is None and _is_section(field.type)):
                if field.required:
                    self._report.error((*keys, name), "required, but missing")
                    decoded[field.name] = UNSET
            else:
                decoded[field.name] = self._value(field.type, value[name], (*keys, name))
        return decoded

    def _value(self, annotation: Any, value: Any, keys: Keys) -> Any:
        result = self._decode(annotation, value, keys)
        if result is not UNSET:
            self.decoded[keys] = result
        return result

    def _decode(self, annotation: Any, value: Any, keys: Keys) -> Any:
        kind = _only(annotation)
        if value is UNSET:
            return UNSET
        if isinstance(value, list) and get_origin(kind) is list:
            (item_kind,) = get_args(kind)
            items = [self._value(item_kind, item, (*keys, index)) for index, item in enumerate(value)]
            return _whole(items, items)
        if isinstance(value, dict) and get_origin(kind) is dict:
            _, item_kind = get_args(kind)
            parts = {name: self._value(item_kind, item, (*keys, name)) for name, item in value.items()}
            return _whole(parts, parts.values())
        if isinstance(value, dict) and _is_section(kind):
            decoded = self.fields(kind, value, keys)
            return UNSET if UNSET in decoded.values() else kind(**decoded)
        return self._leaf(annotation, value, keys)

    def _leaf(self, annotation: Any, value: Any, keys: Keys) -> Any:
        for strict in (True, False) if keys in self._substituted else (True,):
            try:
                return msgspec.convert(value, annotation, strict=strict)
            except msgspec.ValidationError:
                continue
        self._report.error(keys, mismatch(annotation, value, self._report.redactor))
        return UNSET


def _only(annotation: Any) -> Any:
    """Return the type that an annotation allows beside null, or None if there are several."""
    allowed = [kind.base for kind in kinds(annotation)]
    return allowed[0] if len(allowed) == 1 else None


def _is_section(annotation: Any) -> bool:
    return any(kind.section for kind in kinds(annotation))


def _whole(container: Any, parts: Any) -> Any:
    return UNSET if any(part is UNSET for part in parts) else container


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column
