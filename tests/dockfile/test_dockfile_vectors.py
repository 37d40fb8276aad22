"""Dockfiles and their expected errors, warnings and fields, from the tables beside this file.

The blocks of a table are sections that replace, or follow, those of a valid Dockfile (see conftest.py).
`>` lines are the expected errors or warnings; `=` lines are expected fields.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from dockrion.dockfile import Dockfile, Loaded, load
from dockrion.dockfile.reference import json_schema
from dockrion.dockfile.yaml_source import Document, read_text

FOLDER = Path(__file__).parent
Vector = tuple[str, list[str]]


def table(name: str) -> list[Any]:
    vectors = []
    for block in (FOLDER / name).read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.strip("\n").split("\n") if not line.startswith("# ")]
        text = "\n".join(line for line in lines if not line.startswith(("> ", "= ")))
        results = [line[2:] for line in lines if line.startswith(("> ", "= "))]
        if lines:
            vectors.append(pytest.param(text, results, id=text))
    return vectors


@pytest.mark.parametrize(("text", "expected"), table("invalid.txt"))
def test_every_error_is_reported_with_its_position(
    text: str, expected: list[str], errors: Callable[..., list[str]]
) -> None:
    assert errors(text) == expected


@pytest.mark.parametrize(("text", "expected"), table("warned.txt"))
def test_warnings_are_reported_and_unknown_fields_collected(
    text: str, expected: list[str], loaded: Callable[..., Loaded]
) -> None:
    result = loaded(text)
    lines = [str(problem).removeprefix("Dockfile.yaml:") for problem in result.warnings]
    assert lines == expected
    assert len(result.unknown) == sum("unknown field" in line for line in lines)


@pytest.mark.parametrize(("text", "expected"), table("valid.txt"))
def test_fields_and_defaults(text: str, expected: list[str], loaded: Callable[..., Loaded]) -> None:
    result = loaded(text)
    assert result.warnings == []
    fields = msgspec.to_builtins(result.dockfile)
    for line in expected:
        path, _, value = line.partition(" ")
        field = fields
        for key in path.split("."):
            field = field[int(key) if isinstance(field, list) else key]
        assert field == json.loads(value), path


@pytest.mark.parametrize("section", msgspec.structs.fields(Dockfile), ids=lambda field: field.name)
def test_a_section_that_is_omitted_or_empty_has_its_defaults(
    section: msgspec.structs.FieldInfo, tmp_path: Path
) -> None:
    path = tmp_path / "Dockfile.yaml"

    def with_section(text: str) -> Dockfile:
        path.write_text('version: "1.0"\nagent: {name: bot, handler: app:handle}\n' + text)
        return load(path, environ={}).dockfile

    if section.name not in ("version", "agent"):
        default = getattr(with_section(""), section.name)
        assert getattr(with_section(f"{section.name}:\n"), section.name) == default
        empty = getattr(with_section(f"{section.name}: {{}}\n"), section.name)
        assert empty == (default if default is not None else type(empty)())
    else:
        assert section.required


@pytest.mark.parametrize(("text", "_expected"), table("valid.txt"))
def test_editors_accept_what_is_valid(text: str, _expected: list[str], write: Callable[..., Path]) -> None:
    validator = jsonschema_rs.validator_for(json_schema())
    document = Document(read_text(write(text)), "").build(lambda _keys, value: value)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(("name", "at_least"), [("invalid.txt", 150), ("warned.txt", 15), ("valid.txt", 45)])
def test_the_tables_are_read(name: str, at_least: int) -> None:
    assert len(table(name)) >= at_least
