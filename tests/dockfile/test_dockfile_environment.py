from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dockrion.dockfile import DockfileError, Loaded, load
from dockrion.dockfile.environment import substitute

MAINTAINER = "metadata: {maintainer: '${WHO:-nobody}'}"
UNUSABLE = "the name or the value cannot be that of an environment variable"
# By precedence, highest first.
SOURCES = ["environ", "named.env", ".env", "env.yaml", "env.yml"]


@pytest.mark.parametrize("strongest", range(len(SOURCES) + 1))
def test_the_first_source_takes_precedence(strongest: int, write: Callable[..., Path]) -> None:
    path = write(MAINTAINER)
    Path("named.env").write_text("OTHER=1\n")
    environ = {}
    for source in SOURCES[strongest:]:
        if source == "environ":
            environ["WHO"] = source
        else:
            Path(source).write_text(
                f"WHO: {source}\n" if "yaml" in source or "yml" in source else f"WHO={source}\n"
            )
    result = load(path, env_file=Path("named.env"), environ=environ)
    assert result.dockfile.metadata.maintainer == [*SOURCES, "nobody"][strongest]
    assert result.agent_environment.get("WHO") == [None, *SOURCES[1:], None][strongest]


@pytest.mark.parametrize("value", ["mine", "", "\udcff"])
def test_no_file_overrides_the_process_environment(value: str, write: Callable[..., Path]) -> None:
    path = write()
    Path(".env").write_text("A=from-dotenv\nB=1\n")
    Path("env.yaml").write_text("A: from-yaml\nC: 010\n")
    assert load(path, environ={"A": value}).agent_environment == {"B": "1", "C": "010"}


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${A}", {"A": "1"}, ("1", [])),
        ("a${A}b${A}c", {"A": "1"}, ("a1b1c", [])),
        ("${A}", {"A": ""}, ("", [])),
        ("${A}", {}, ("", ["A"])),
        ("${A:-x}", {}, ("x", [])),
        ("${A:-x}", {"A": ""}, ("x", [])),
        ("${A:-x}", {"A": "1"}, ("1", [])),
        ("${A:-}", {}, ("", [])),
        ("${A:-${B:-x}}", {}, ("x", [])),
        ("${A:-${B}-}y", {"B": "2"}, ("2-y", [])),
        ("${A:-${B}}", {"A": "1"}, ("1", [])),
        ("${A:-${B}}${C}", {}, ("", ["B", "C"])),
        ("${A}", {"A": "${B}", "B": "2"}, ("${B}", [])),
        ("${A:-x", {}, ("${A:-x", [])),
        ("$A $$ ${} ${1} ${a-b} $", {"A": "1"}, ("$A $$ ${} ${1} ${a-b} $", [])),
    ],
)
def test_substitution(text: str, environ: Mapping[str, str], expected: tuple[str, list[str]]) -> None:
    assert substitute(text, environ) == expected


def test_a_substituted_value_is_converted_to_the_fields_type(loaded: Callable[..., Loaded]) -> None:
    dockfile = loaded(
        "expose: {port: '${PORT:-9000}', rest: '${REST}', streaming: '${KIND}', host: '${HOST}'}",
        "io_schema: {input: {maxLength: '${MAX}', uniqueItems: '${UNIQUE}', const: '${MAX}'}}",
        "metadata: {version: '${VERSION}', tags: ['${MAX}']}",
        environ={
            "REST": "true",
            "KIND": "none",
            "HOST": "null",
            "MAX": "5",
            "UNIQUE": "false",
            "VERSION": "1.0",
        },
    ).dockfile
    expose = dockfile.expose
    assert (expose.port, expose.rest, expose.streaming, expose.host) == (9000, True, "none", "null")
    assert dockfile.io_schema.input == {"maxLength": 5, "uniqueItems": False, "const": "5"}
    assert (dockfile.metadata.version, dockfile.metadata.tags) == ("1.0", ["5"])


def test_only_substituted_text_is_converted(errors: Callable[..., list[str]]) -> None:
    assert errors("expose: {port: '${PORT}', rest: 'true'}", environ={"PORT": "0"}) == [
        '4:16: expose.port: expected an integer, 1\N{EN DASH}65535, got "0"',
        '4:33: expose.rest: expected true or false, got "true"',
    ]


def test_keys_are_not_substituted(loaded: Callable[..., Loaded]) -> None:
    result = loaded("'${KEY}': 1", environ={"KEY": "streaming"})
    assert result.unknown == {"${KEY}": 1}


def test_undecodable_variables_count_as_not_set(loaded: Callable[..., Loaded]) -> None:
    result = loaded(MAINTAINER, "secrets: {required: [{name: WHO}]}", environ={"WHO": "\udcff"})
    assert result.dockfile.metadata.maintainer == "nobody"
    assert result.missing_secrets == ["WHO"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("TRUE", "true"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("False", "false"),
        ("1.10", "1.10"),
        ("0x1F", "0x1F"),
        ("", "nobody"),
        ("'a: b'", "a: b"),
        ("2026-11-22", "2026-11-22"),
        ("'${HOME}'", "${HOME}"),
    ],
)
def test_values_of_env_yaml(written: str, value: str, write: Callable[..., Path]) -> None:
    path = write(MAINTAINER)
    Path("env.yaml").write_text(f"WHO: {written}\n")
    assert load(path, environ={}).dockfile.metadata.maintainer == value


def test_dotenv_syntax(write: Callable[..., Path]) -> None:
    path = write("metadata: {tags: ['${A}', '${B}', '${C}', '${D:-unset}']}")
    Path(".env").write_text(
        "\ufeff# comment\nexport A=1\nB='two words' # comment\nC=${A}\nD\n", encoding="utf-8"
    )
    assert load(path, environ={}).dockfile.metadata.tags == ["1", "two words", "${A}", "unset"]


def test_empty_environment_files_are_accepted(write: Callable[..., Path]) -> None:
    path = write(MAINTAINER)
    for name in (".env", "env.yaml", "env.yml"):
        Path(name).touch()
    assert load(path, environ={}).dockfile.metadata.maintainer == "nobody"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("env.yaml", b"A: [1]\nA: 2\nB: {}", [
            "env.yaml:2:1: A: duplicate key, first used on line 1",
            "env.yaml:3:4: B: expected a string, a number, true or false",
        ]),
        ("env.yaml", b"- A", ["env.yaml:1:1: not a valid YAML mapping"]),
        ("env.yml", b"PASSWORD: *hunter2", ["env.yml:1:11: not a valid YAML mapping"]),
        ("env.yml", b"PASSWORD: !hunter2 x", ["env.yml:1:11: PASSWORD: tags are not supported"]),
        (".env", b"A=\xff", [".env:1:3: not UTF-8 text"]),
        (".env", b"'A=B'=c\n", [f".env: A=B: {UNUSABLE}"]),
        (".env", b"A=b\0c\n", [f".env: A: {UNUSABLE}"]),
        ("env.yaml", b'A=B: c\n"": d\nE: "f\\0"', [
            f"env.yaml:1:6: A=B: {UNUSABLE}",
            f'env.yaml:2:5: [""]: {UNUSABLE}',
            f"env.yaml:3:4: E: {UNUSABLE}",
        ]),
    ],
)  # fmt: skip
def test_malformed_sources(
    name: str, content: bytes, expected: list[str], write: Callable[..., Path]
) -> None:
    path = write()
    Path(name).write_bytes(content)
    with pytest.raises(DockfileError) as caught:
        load(path, environ={})
    assert str(caught.value).splitlines() == expected


def test_a_named_env_file_must_exist(write: Callable[..., Path]) -> None:
    with pytest.raises(DockfileError) as caught:
        load(write(), env_file=Path("missing.env"), environ={})
    assert str(caught.value) == "missing.env: cannot be read: No such file or directory"


def test_redis_url_is_resolved_with_the_redis_backend(loaded: Callable[..., Loaded]) -> None:
    url = "redis://h/0"
    for text in (
        "streaming: {backend: redis}",
        "streaming: {backend: '${BACKEND}', redis: }",
        "streaming: {backend: redis, redis: {url: '${REDIS_URL}'}}",
        "streaming: {backend: redis, redis: {max_events_per_run: 10}}",
    ):
        streaming = loaded(text, environ={"REDIS_URL": url, "BACKEND": "redis"}).dockfile.streaming
        assert (streaming.backend, streaming.redis.url) == ("redis", url)
