"""The field table, the JSON Schema and the summary of a Dockfile."""

from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import jsonschema_rs
import msgspec
import pytest

from dockrion.dockfile import Dockfile, Loaded, summary, unserved
from dockrion.dockfile.annotations import allowed_types
from dockrion.dockfile.reference import json_schema, table

VALID: dict[str, Any] = {
    "version": "1.0",
    "agent": {"name": "bot", "handler": "app:handle"},
    "io_schema": {},
    "expose": {},
}


def leaves(section: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        kind = next(allowed_types(field.type))
        path = prefix + field.encode_name
        if get_origin(kind.base) is list and (item := next(allowed_types(get_args(kind.base)[0])).section):
            yield path
            yield from leaves(item, f"{path}[].")
        elif kind.section:
            yield from leaves(kind.section, f"{path}.")
        else:
            yield path


def rows() -> dict[str, tuple[str, str]]:
    found, section = {}, ""
    for line in table().splitlines()[2:]:
        _, first, field, default, rule, _ = (cell.strip() for cell in line.split("|"))
        section = first.strip("`") or section
        found[".".join(filter(None, (section, field.strip("`"))))] = (default, rule)
    return found


def test_the_table_lists_every_field() -> None:
    optional_sections = {"expose.cors", "expose.tls", "auth", "policies", "policies.safety", "policies.tools"}
    optional_sections |= {"observability.tracing", "webhooks", "build"}
    assert set(rows()) - optional_sections == set(leaves(Dockfile))


def test_rows_of_the_table() -> None:
    found = rows()
    assert found["version"] == ("required", '"1.0". Version of the Dockfile format.')
    assert found["expose.port"] == ("8080", "an integer, 1\N{EN DASH}65535. The port to listen on.")
    assert found["expose.streaming"][0] == "`sse`"
    assert found["expose.streaming"][1].startswith("one of sse, websocket, none. ")
    assert found["streaming.redis.connection_pool_size"][1].startswith("an integer, at least 1. ")
    assert found["secrets.required[].name"][0] == "required"


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("version", 1.0),
        ("version", None),
        ("agent", None),
        ("agent", {"name": "Bot"}),
        ("agent", {"name": "bot\n"}),
        ("agent", {"handler": "a:b"}),
        ("expose", {"port": 0}),
        ("expose", {"port": "8080"}),
        ("expose", {"port": None}),
        ("expose", {"streaming": "see"}),
        ("expose", {"cors": {"origins": ["example.com"]}}),
        ("streaming", {"events": {"heartbeat_interval": 301}}),
        ("secrets", {"required": [{}]}),
        ("metadata", {"tags": "a"}),
        ("auth", {"rate_limits": {"default": "10 per minute"}}),
        ("streaming", "on"),
    ],
)
def test_editors_refuse(section: str, value: Any) -> None:
    assert not jsonschema_rs.is_valid(json_schema(), {**VALID, section: value})


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("agent", {"name": "${NAME}", "handler": "${HANDLER}"}),
        ("expose", {"port": "${PORT:-8080}", "rest": "${REST}", "streaming": "${KIND}"}),
        ("expose", {"cors": {"origins": ["${ORIGIN}"], "methods": ["${METHOD}"]}}),
        ("streaming", {"redis": None, "events": {"allowed": "${EVENTS}"}}),
        ("streaming", None),
        ("anything", {"else": 1}),
        ("policies", {"safety": {"max_output_chars": "${MAX}"}}),
        ("auth", {"rate_limits": {"default": "${LIMIT}"}}),
    ],
)
def test_editors_accept(section: str, value: Any) -> None:
    jsonschema_rs.validate(json_schema(), {**VALID, section: value})


def test_the_json_schema_is_valid_and_has_descriptions() -> None:
    schema = json_schema()
    jsonschema_rs.meta.validate(schema)
    port = schema["$defs"]["ExposeSpec"]["properties"]["port"]
    assert (port["description"], port["default"]) == ("The port to listen on.", 8080)


def test_summary_of_the_defaults(loaded: Callable[..., Loaded]) -> None:
    assert summary(loaded(), ["GET /", "POST /invoke"]).splitlines() == [
        "agent    bot (custom)",
        "invokes  handler app:handle",
        "listens  0.0.0.0:8080",
        "backend  memory",
        "serves   GET /",
        "         POST /invoke",
        "callers  everybody",
    ]


def test_summary_names_the_prefix_and_tls(loaded: Callable[..., Loaded]) -> None:
    result = loaded("expose: {root_path: /agents/writer, tls: {certificate: c, key: k}}")
    assert summary(result, []).splitlines()[2] == "listens  0.0.0.0:8080, with TLS, below /agents/writer"


def test_summary_names_the_protocols(loaded: Callable[..., Loaded]) -> None:
    lines = summary(loaded("expose: {protocols: [openai, ag-ui]}"), ["POST /x"]).splitlines()
    assert lines[4:7] == ["serves   POST /x", "protocol openai", "         ag-ui"]


@pytest.mark.parametrize(
    ("auth", "callers"),
    [
        ("{mode: none}", "everybody"),
        ("{}", "authenticated by api_key"),
        ("{mode: jwt, jwt: {public_key_env: K}}", "authenticated by jwt"),
    ],
)
def test_summary_names_the_callers(auth: str, callers: str, loaded: Callable[..., Loaded]) -> None:
    assert summary(loaded(f"auth: {auth}"), []).splitlines()[-1] == f"callers  {callers}"


def test_summary_lists_ignored_fields(loaded: Callable[..., Loaded]) -> None:
    result = loaded(
        "agent: {name: bot, handler: a:b, entrypoint: a:c, url: 'http://h'}",
        "expose: {streaming: none}",
        "streaming: {async_runs: false, id_generator: {handler: a:d}}",
        "observability: {metrics: {}}",
        "build: {exclude: [x]}",
    )
    lines = summary(result, []).splitlines()
    assert lines[5:] == [
        "ignores  agent.entrypoint (the handler is invoked)",
        "         agent.url (the handler is invoked)",
        "         streaming.id_generator.handler (type is uuid)",
        "         build",
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("version: '1.0'", []),
        ("streaming: {backend: redis, redis: {url: 'redis://h'}}", []),
        ("agent: {name: bot, url: 'http://h'}", []),
        ("agent: {name: bot, handler: a:b, url: 'http://h', framework: langgraph}", []),
        ("agent: {name: bot, entrypoint: a:b, framework: langgraph}", []),
        ("agent: {name: bot, entrypoint: a:b, framework: langchain}", []),
        ("agent: {name: bot, entrypoint: a:b, framework: custom}", []),
        ("expose: {streaming: websocket}", []),
        ("auth:", []),
        ("auth: {}", []),
        ("auth: {unknown: 1}", ["auth.unknown"]),
        ("auth: {api_keys: {envvar: K}}", ["auth.api_keys.envvar"]),
        ("auth: {mode: '${MODE:-jwt}', jwt: {public_key_env: K}}", []),
        ("auth: {mode: none}", []),
        ("policies:", []),
        ("policies: {}", []),
        ("policies: {safety: , tools: }", []),
        ("policies: {safety: {}}", []),
        ("policies: {tools: {}}", []),
        ("policies: {quota: 5}", ["policies.quota"]),
        ("policies: {safety: {redact_pattern: [x]}}", ["policies.safety.redact_pattern"]),
        ("policies: {tools: {deny_by_default: true}}", []),
        (
            "agent: {name: bot, url: 'http://h'}\npolicies: {tools: {deny_by_default: true}}",
            ["policies.tools"],
        ),
        ("agent: {name: bot, url: 'http://h'}\npolicies: {tools: {}}", ["policies.tools"]),
        ("agent: {name: bot, url: 'http://h'}\npolicies: {tools: {allowed: [look]}}", ["policies.tools"]),
        ("agent: {name: bot, url: 'http://h'}\npolicies: {tools: {deny_by_default: false}}", []),
        ("policies_x: {quota: 5}", []),
        ("author: me", []),
        ("auht: {mode: jwt}", ["auht"]),
        ("Auth: {mode: jwt}", ["Auth"]),
        ("polices: {safety: {}}", ["polices"]),
    ],
)
def test_settings_that_cannot_be_enforced_are_listed(
    text: str, paths: list[str], loaded: Callable[..., Loaded]
) -> None:
    lines = unserved(loaded(text))
    assert [line.partition(":")[0] for line in lines] == paths
    assert all(": not served by this version: " in line for line in lines)


def test_mode_is_the_first_field_that_is_set(loaded: Callable[..., Loaded]) -> None:
    found = []
    for fields in ("handler: a:b, entrypoint: a:c", "entrypoint: a:c, framework: custom", "url: 'http://h'"):
        agent = loaded(f"agent: {{name: bot, {fields}}}").dockfile.agent
        found.append((agent.mode, agent.target))
    assert found == [("handler", "a:b"), ("entrypoint", "a:c"), ("url", "http://h")]


@pytest.mark.parametrize(
    ("observability", "traces"),
    [
        ("{tracing: false}", []),
        ("{tracing: true}", ["by OTLP"]),
        ("{tracing: {endpoint: 'https://me:password@c:4318/x'}}", ["by OTLP to https://c:4318"]),
        ("{tracing: {exporter: console}}", ["to the log"]),
        (
            "{tracing: {exporter: none}, langfuse: {enabled: true}}",
            ["to Langfuse at https://cloud.langfuse.com"],
        ),
    ],
)
def test_summary_names_where_spans_go(
    observability: str, traces: list[str], loaded: Callable[..., Loaded]
) -> None:
    lines = summary(loaded(f"observability: {observability}"), []).splitlines()[5:]
    assert [line.removeprefix("traces").strip() for line in lines] == traces
