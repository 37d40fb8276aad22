"""Decoding: from plain values to structs, collecting every error instead of stopping at the first.

`msgspec.convert` stops at the first error and knows no positions. So `Decoder` walks sections, lists and
mappings itself and hands only the leaves to msgspec. A value that is invalid becomes `msgspec.UNSET`, and so
does every container around it. The parts that did decode are kept in `Decoder.decoded`, by key path: `rules`
checks them even if other parts of the file are invalid, so that one run reports all mistakes.
"""

from collections.abc import Container, Iterable
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET

from dockrion.dockfile.annotations import AllowedType, allowed_types, describe_mismatch
from dockrion.dockfile.places import Places
from dockrion.dockfile.problems import (
    DockfileError,
    KeyPath,
    Problem,
    did_you_mean,
    dotted,
    format_value,
    one_line,
)
from dockrion.dockfile.yaml_scalars import legacy_boolean
from dockrion.dockfile.yaml_source import Document
from dockrion.redaction import Redactor


class Diagnostics:
    """Collects the errors and warnings of one Dockfile, and adds their positions.

    Args:
        file: The file's name in messages.
        document: Resolves key paths to lines and columns; its own errors are included.
        redactor: Masks secrets in every message.

    Attributes:
        unknown: The unknown fields, by dotted path.
    """

    def __init__(self, file: str, document: Document, redactor: Redactor) -> None:
        self.redactor = redactor
        self.unknown: dict[str, Any] = {}
        self._file = file
        self._document = document
        self._warnings: list[Problem] = []
        self._errors = [
            (error.keys, self._problem((error.line, error.column), error.keys, error.message))
            for error in document.errors
        ]

    @property
    def warnings(self) -> list[Problem]:
        """The warnings, in the order of the file."""
        return sorted(self._warnings, key=_position)

    def error(self, keys: KeyPath, message: str) -> None:
        """Add an error at a value, or at the mapping from which it is missing."""
        self._errors.append((keys, self._problem(self._document.position(keys), keys, message)))

    def warn(self, keys: KeyPath, message: str) -> None:
        """Add a warning at a key, or at the mapping from which it is missing."""
        self._warnings.append(self._problem(self._document.key_position(keys), keys, message))

    def unknown_field(self, keys: KeyPath, value: Any, known: Iterable[str], place: str = "") -> None:
        """Record an unknown field, and add a warning that names the known field it resembles.

        Args:
            keys: The field.
            value: Its value.
            known: The names of the fields that there may be.
            place: Where it belongs, as `Places` words it, if it is known elsewhere.
        """
        self.unknown[dotted(keys)] = value
        self.warn(keys, "unknown field" + (place or did_you_mean(str(keys[-1]), known)))

    def legacy_boolean(self, keys: KeyPath, value: Any, *, substituted: bool) -> bool | None:
        """Return the boolean that a value is in YAML 1.1 but not in 1.2, with a warning, else None.

        Args:
            keys: Where a boolean is expected.
            value: What is there.
            substituted: Whether it comes from `${VAR}`. Otherwise text in quotes is no boolean.
        """
        if not isinstance(value, str) or not (substituted or self._document.is_plain(keys)):
            return None
        boolean = legacy_boolean(value)
        if boolean is not None:
            name = "true" if boolean else "false"
            self.warn(keys, f"{value} is text in YAML 1.2, but read as {name} here; write {name}")
        return boolean

    def format_value(self, value: Any) -> str:
        """Return a value for a message, secrets masked."""
        return format_value(value, self.redactor)

    def failed(self, keys: KeyPath) -> bool:
        """Return whether there is an error at or below a key path."""
        return any(each[: len(keys)] == keys for each, _ in self._errors)

    def raise_errors(self) -> None:
        """Raise `DockfileError` if there are errors."""
        if self._errors:
            errors = sorted((problem for _, problem in self._errors), key=_position)
            raise DockfileError(errors, self.warnings)

    def _problem(self, position: tuple[int, int], keys: KeyPath, message: str) -> Problem:
        mask = self.redactor.mask
        return Problem(self._file, *position, mask(dotted(keys)), one_line(mask(message)))


class Decoder:
    """Turns plain values into structs, field by field.

    Args:
        diagnostics: Receives errors and unknown fields.
        substituted: Key paths of strings that come from `${VAR}`; they are converted to the field's type.
        places: Where fields belong that are in the wrong section.

    Attributes:
        decoded: Every value that decoded without error, by key path.
    """

    def __init__(self, diagnostics: Diagnostics, substituted: Container[KeyPath], places: Places) -> None:
        self.decoded: dict[KeyPath, Any] = {}
        self._diagnostics = diagnostics
        self._substituted = substituted
        self._places = places

    def fields(self, section: type[msgspec.Struct], value: dict[str, Any], keys: KeyPath) -> dict[str, Any]:
        """Decode the fields of a section that a mapping sets.

        Args:
            section: The struct.
            value: The mapping.
            keys: The mapping's key path.

        Returns:
            The values by attribute name; `UNSET` for a field that is invalid, or required and missing.
        """
        known = {field.encode_name: field for field in msgspec.structs.fields(section)}
        for name, item in value.items():
            if name not in known:
                place = self._places.for_field((*keys, name))
                self._diagnostics.unknown_field((*keys, name), item, known, place)
        decoded: dict[str, Any] = {}
        for name, field in known.items():
            # A section that is null equals an omitted one.
            if name not in value or (value[name] is None and _is_section(field.type)):
                if field.required:
                    missing = "empty: indent its fields below it" if name in value else "missing"
                    self._diagnostics.error((*keys, name), f"required, but {missing}")
                    decoded[field.name] = UNSET
            else:
                decoded[field.name] = self._value(field.type, value[name], (*keys, name))
        return decoded

    def _value(self, annotation: Any, value: Any, keys: KeyPath) -> Any:
        result = self._decode(annotation, value, keys)
        if result is not UNSET:
            self.decoded[keys] = result
        return result

    def _decode(self, annotation: Any, value: Any, keys: KeyPath) -> Any:
        if value is UNSET:
            return UNSET
        base = _type_for(annotation, value)
        if isinstance(value, list) and get_origin(base) is list:
            (item_type,) = get_args(base)
            items = [self._value(item_type, item, (*keys, index)) for index, item in enumerate(value)]
            return UNSET if _any_unset(items) else items
        if isinstance(value, dict) and get_origin(base) is dict:
            _, item_type = get_args(base)
            parts = {name: self._value(item_type, item, (*keys, name)) for name, item in value.items()}
            return UNSET if _any_unset(parts.values()) else parts
        if isinstance(value, dict) and _is_section(base):
            fields = self.fields(base, value, keys)
            return UNSET if _any_unset(fields.values()) else base(**fields)
        return self._leaf(annotation, value, keys)

    def _leaf(self, annotation: Any, value: Any, keys: KeyPath) -> Any:
        for strict in (True, False) if keys in self._substituted else (True,):
            try:
                return msgspec.convert(value, annotation, strict=strict)
            except msgspec.ValidationError:
                continue
        if any(each.base is bool for each in allowed_types(annotation)):
            substituted = keys in self._substituted
            boolean = self._diagnostics.legacy_boolean(keys, value, substituted=substituted)
            if boolean is not None:
                return boolean
        message = describe_mismatch(annotation, value, self._diagnostics.redactor)
        if _is_section(annotation) and isinstance(value, str):
            message += self._places.for_value(keys, value)
        self._diagnostics.error(keys, message)
        return UNSET


def _single_type(annotation: Any) -> Any:
    """Return the one type that an annotation allows beside null, or None if it allows several."""
    allowed = [each.base for each in allowed_types(annotation)]
    return allowed[0] if len(allowed) == 1 else None


def _type_for(annotation: Any, value: Any) -> Any:
    """Return the one type that an annotation allows for a value of this kind, or None."""
    single = _single_type(annotation)
    if single is None and isinstance(value, list | dict):
        kind = type(value)
        fitting = [each.base for each in allowed_types(annotation) if _is_kind(each, kind)]
        return fitting[0] if len(fitting) == 1 else None
    return single


def _is_kind(allowed: AllowedType, kind: type) -> bool:
    return get_origin(allowed.base) is kind or (kind is dict and allowed.section is not None)


def _is_section(annotation: Any) -> bool:
    return any(each.section for each in allowed_types(annotation))


def _any_unset(values: Iterable[Any]) -> bool:
    return any(value is UNSET for value in values)


def _position(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column
