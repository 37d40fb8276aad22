"""Malformed and hostile files."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.dockfile import DockfileError, load

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "Dockfile.yaml:1:1: the file is empty"),
        (b"# nothing\n", "Dockfile.yaml:1:1: the file is empty"),
        (b"---\n", "Dockfile.yaml:1:1: expected a mapping of sections"),
        (b"- version\n", "Dockfile.yaml:1:1: expected a mapping of sections"),
        (b"hello", "Dockfile.yaml:1:1: expected a mapping of sections"),
        (
            b'version: "1.0"\n---\nversion: "1.0"\n',
            "Dockfile.yaml:2:1: a second document: remove the line ---",
        ),
        (b'"version"\nagent: {}\n', "Dockfile.yaml:2:1: the line above lacks its colon, or what follows it"),
        (b"version: \xff", "Dockfile.yaml:1:10: not UTF-8 text"),
        ("version: '1.0'\n# é".encode("latin-1"), "Dockfile.yaml:2:3: not UTF-8 text"),
        ("version: x".encode("utf-16"), "Dockfile.yaml:1:1: not UTF-8 text"),
        (b"a: b\nc: \x00", "Dockfile.yaml:2:4: the character U+0000 is not allowed in YAML"),
        (b"a" * (1024 * 1024 + 1), "Dockfile.yaml: larger than 1048576 bytes"),
        (b"a: " + b"[" * 500, "nested deeper than 100 levels"),
        (b"a: " + b"[" * 101 + b"]" * 101, "Dockfile.yaml:1:1: nested deeper than 100 levels"),
        (b"a: &a {b: *a}", "Dockfile.yaml:1:4: an alias contains itself"),
        (b"a: &a {<<: *a}", "Dockfile.yaml:1:4: an alias contains itself"),
        (b"a: *nobody", "Dockfile.yaml:1:4: a value that begins with * must be in quotes"),
        (
            b"%YAML 9.9\n---\na: b",
            "Dockfile.yaml:1:1: found incompatible YAML document (version 1.* is required)",
        ),
        (LAUGHS.encode(), "Dockfile.yaml:1:1: more than 100000 values, aliases expanded"),
        (MERGES.encode(), "Dockfile.yaml:1:1: more than 100000 values, aliases expanded"),
    ],
)
def test_malformed_files_are_refused(content: bytes, expected: str, write: Callable[..., Path]) -> None:
    path = write()
    path.write_bytes(content)
    started = time.thread_time()  # which a busy machine does not lengthen
    with pytest.raises(DockfileError) as caught:
        load(path, environ={})
    assert time.thread_time() - started < 5
    (line,) = str(caught.value).splitlines()
    assert line.endswith(expected)
    assert line.startswith("Dockfile.yaml:")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.yaml", "No such file or directory; dockrion init writes one"),
        ("Dockfile.yml", "No such file or directory, did you mean Dockfile.yaml?"),
        ("nowhere/Dockfile.yaml", "No such file or directory; dockrion init writes one"),
        (".", "Is a directory; name the Dockfile in it: Dockfile.yaml"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_files_that_cannot_be_opened(name: str, reason: str, write: Callable[..., Path]) -> None:
    write()
    with pytest.raises(DockfileError, match=re.escape(f"cannot be read: {reason}")):
        load(Path(name), environ={})


def test_a_byte_order_mark_and_crlf_are_accepted(write: Callable[..., Path]) -> None:
    path = write()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(path, environ={}).dockfile.agent.name == "bot"


def test_external_schema_references_are_never_followed(
    errors: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "schema.json").write_text("{}")
    uri = (tmp_path / "schema.json").as_uri()
    assert errors(f"io_schema: {{input: {{$ref: '{uri}'}}, output: {{$schema: '{uri}'}}}}")


SECTIONS = [
    *[
        "version",
        "agent",
        "io_schema",
        "expose",
        "streaming",
        "arguments",
        "secrets",
        "metadata",
        "auth",
        "policies",
        "build",
    ]
]
WORDS = st.sampled_from(
    [*SECTIONS, "name", "input", "type", "properties", "required", "items", "$ref", "redis"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1.0", "array", "object", "${A}", "${B:-x}", "redis", "#", "#/properties"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=4)
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "Dockfile.yaml"


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    problems = []
    try:
        load(path, environ={"A": "a"})
    except DockfileError as error:
        problems = error.problems
        assert problems, "an error without a problem"
    assert all(str(problem).isprintable() for problem in problems)


@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
@settings(max_examples=150)
def test_arbitrary_bytes_raise_only_dockfile_errors(file: Path, content: bytes) -> None:
    check(file, content)


@given(value=st.dictionaries(st.sampled_from(SECTIONS) | st.text(max_size=5), VALUES, max_size=6))
@settings(max_examples=50)
def test_arbitrary_values_raise_only_dockfile_errors(file: Path, value: object) -> None:
    check(file, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(
    schema=st.dictionaries(WORDS | st.sampled_from(["anyOf", "pattern", "minimum", "$defs", "$id"]), VALUES),
    text=st.text(alphabet="{}[]:,&*!|>'\"%@`-? \nab<", max_size=30),
)
@settings(max_examples=50)
def test_nearly_valid_dockfiles_raise_only_dockfile_errors(file: Path, schema: object, text: str) -> None:
    valid = {
        "version": "1.0",
        "agent": {"name": "a", "handler": "m:f"},
        "io_schema": {"input": schema},
        "expose": {},
    }
    check(file, yaml.safe_dump(valid).encode() + b"metadata: " + text.encode())
