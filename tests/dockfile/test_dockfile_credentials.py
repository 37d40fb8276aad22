"""API keys and tokens from the variables that a Dockfile names."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile import Credentials, Dockfile, Loaded, load
from dockrion.dockfile.agent_structs import AgentSpec, IoSchemaSpec
from dockrion.dockfile.auth_structs import ApiKeysSpec, AuthSpec
from dockrion.dockfile.credentials import read_credentials
from dockrion.dockfile.expose_structs import ExposeSpec

LONG = "a key that nobody guesses"
NOT_SET = "auth.api_keys.env_var: DOCKRION_API_KEY is not set"


def with_keys(variables: dict[str, str], prefix: str | None = None) -> Credentials:
    auth = AuthSpec(api_keys=ApiKeysSpec(prefix=prefix))
    bot = AgentSpec(name="bot", handler="app:handle")
    dockfile = Dockfile("1.0", bot, IoSchemaSpec(), ExposeSpec(), auth=auth)
    return read_credentials(dockfile, variables)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("one", ["one"]),
        ("old,new", ["old", "new"]),
        (" old , new ,,", ["old", "new"]),
        ("with space inside", ["with space inside"]),
        ("same,same", ["same", "same"]),
    ],
)
def test_a_variable_holds_one_or_several_keys(value: str, keys: list[str]) -> None:
    found = with_keys({"DOCKRION_API_KEY": value, "DOCKRION_API_KEY_2": "other", "KEY": "other"})
    assert found.api_keys == [("default", key) for key in keys]
    assert found.missing == []


@pytest.mark.parametrize("variables", [{}, {"DOCKRION_API_KEY": ""}, {"DOCKRION_API_KEY": " , ,"}])
def test_without_a_key_the_variable_is_reported_missing(variables: dict[str, str]) -> None:
    found = with_keys(variables)
    assert (found.api_keys, found.missing) == ([], [NOT_SET])


def test_the_name_after_the_prefix_is_the_caller() -> None:
    found = with_keys(
        {"KEY_ADMIN": "a1,a2", "KEY_Bob": "b", "KEY_": "d", "KEY_EMPTY": "", "key_x": "x", "MY_KEY_Y": "y"},
        prefix="KEY_",
    )
    assert found.api_keys == [("admin", "a1"), ("admin", "a2"), ("bob", "b"), ("default", "d")]
    assert found.missing == []


def test_key_of_env_var_is_the_default_callers_whatever_the_prefix() -> None:
    for prefix in (None, "KEY_", "DOCKRION_", "DOCKRION_API_", "DOCKRION_API_KEY"):
        assert with_keys({"DOCKRION_API_KEY": "one"}, prefix).api_keys == [("default", "one")]


def test_env_var_is_used_beside_prefix() -> None:
    assert with_keys({"DOCKRION_API_KEY": "one", "KEY_A": "a"}, prefix="KEY_").api_keys == [
        ("a", "a"),
        ("default", "one"),
    ]


def test_a_prefix_without_keys_is_reported() -> None:
    assert with_keys({"KEY_A": ""}, prefix="KEY_").missing == [NOT_SET + ", nor is any KEY_…"]


def test_a_variable_name_that_is_not_unicode_is_ignored() -> None:
    assert with_keys({"KEY_\udcff": "x", "KEY_A": "a"}, prefix="KEY_").api_keys == [("a", "a")]


@given(st.dictionaries(st.text(max_size=8).map("KEY_".__add__), st.text(min_size=1, max_size=20)))
def test_every_key_comes_from_a_variable(variables: dict[str, str]) -> None:
    found = with_keys(variables, prefix="KEY_")
    assert found.api_keys or found.missing
    for name, key in found.api_keys:
        assert name == name.lower()
        assert name
        assert key
        assert any(key in value for value in variables.values())


@pytest.mark.parametrize("source", ["environ", ".env", "env.yaml", "secret"])
def test_keys_are_read_from_every_source_of_variables(source: str, write: Callable[..., Path]) -> None:
    path = write("auth: {mode: api_key}", "secrets: {optional: [{name: DOCKRION_API_KEY, default: secret}]}")
    environ = {"DOCKRION_API_KEY": "environ"} if source == "environ" else {}
    if source != "secret":
        Path(".env").write_text("DOCKRION_API_KEY=.env\n" if source == ".env" else "")
        Path("env.yaml").write_text("DOCKRION_API_KEY: env.yaml\n")
    assert load(path, environ=environ).credentials.api_keys == [("default", source)]


JWT = "auth: {mode: jwt, jwt: {public_key_env: PUBLIC}}"
URL = "introspection_url: 'https://issuer/'"
OAUTH2 = f"auth: {{mode: oauth2, oauth2: {{{URL}, client_id_env: ID, client_secret_env: SECRET}}}}"
INGEST = "streaming: {ingest: {token_env: PUSH}}"
VALUES = {"PUBLIC": "public", "ID": "id", "SECRET": "secret", "PUSH": "push", "DOCKRION_API_KEY": LONG}


@pytest.mark.parametrize(
    ("section", "expected", "missing"),
    [
        (JWT, Credentials(public_key="public"), ["auth.jwt.public_key_env: PUBLIC is not set"]),
        (
            OAUTH2,
            Credentials(client=("id", "secret")),
            ["auth.oauth2.client_id_env: ID is not set", "auth.oauth2.client_secret_env: SECRET is not set"],
        ),
        (INGEST, Credentials(ingest_token="push"), ["streaming.ingest.token_env: PUSH is not set"]),
        ("auth: {}", Credentials(api_keys=[("default", LONG)]), [NOT_SET]),
        ("auth: {mode: none, jwt: {public_key_env: PUBLIC}}", Credentials(), []),
        ("auth: {mode: jwt, jwt: {jwks_url: 'https://issuer/'}}", Credentials(), []),
        (f"auth: {{mode: oauth2, oauth2: {{{URL}}}}}", Credentials(), []),
        ("metadata: {}", Credentials(), []),
    ],
)
def test_each_mode_reads_its_own_credentials(
    section: str, expected: Credentials, missing: list[str], loaded: Callable[..., Loaded]
) -> None:
    assert loaded(section, environ=VALUES).credentials == expected
    assert loaded(section).credentials.missing == missing
    assert loaded(section, environ=dict.fromkeys(VALUES, "")).credentials.missing == missing


def test_white_space_around_tokens_is_not_part_of_them(loaded: Callable[..., Loaded]) -> None:
    padded = {name: f" {value}\r\n" for name, value in VALUES.items()}
    for section in (OAUTH2, INGEST, "auth: {}"):
        assert loaded(section, environ=padded).credentials == loaded(section, environ=VALUES).credentials
        blank = loaded(section, environ=dict.fromkeys(VALUES, " \n")).credentials
        assert blank.missing == loaded(section).credentials.missing


def test_every_missing_variable_is_listed(loaded: Callable[..., Loaded]) -> None:
    assert loaded(OAUTH2, INGEST).credentials.missing == [
        "streaming.ingest.token_env: PUSH is not set",
        "auth.oauth2.client_id_env: ID is not set",
        "auth.oauth2.client_secret_env: SECRET is not set",
    ]


def test_values_are_confidential(loaded: Callable[..., Loaded]) -> None:
    for section, values in (
        (JWT, {"public"}),
        (OAUTH2, {"secret"}),
        (INGEST, {"push"}),
        ("auth: {}", {LONG}),
        ("auth: {mode: jwt, jwt: {jwks_url: 'https://u:pass@issuer/'}}", {"pass"}),
        ("auth: {mode: oauth2, oauth2: {introspection_url: 'https://u:p%40ss@issuer/'}}", {"p%40ss", "p@ss"}),
    ):
        assert set(loaded(section, environ=VALUES).confidential) == values


@pytest.mark.parametrize(
    ("section", "warnings"),
    [
        (
            "auth: {}",
            ["5:7: auth.api_keys: a key of default has fewer than 16 characters and may be guessed"],
        ),
        (
            "auth: {api_keys: {prefix: K_}, roles: [{name: a}]}",
            [
                "5:8: auth.api_keys: a key of default has fewer than 16 characters and may be guessed",
                "5:32: auth.roles: no role is named b: the API key of that name has no permissions",
            ],
        ),
    ],
)
def test_weak_and_useless_keys_are_warned_of(
    section: str, warnings: list[str], loaded: Callable[..., Loaded]
) -> None:
    result = loaded(section, environ={"DOCKRION_API_KEY": "too short", "K_A": LONG, "K_B": LONG + "b"})
    assert [str(each).removeprefix("Dockfile.yaml:") for each in result.warnings] == warnings


def test_the_secrets_of_webhooks_are_read_masked_and_reported_if_missing(tmp_path: Path) -> None:
    path = tmp_path / "Dockfile.yaml"
    path.write_text(
        "version: '1.0'\nagent: {name: bot, handler: app:handle}\n"
        "webhooks: {targets: [{url: 'https://a.example/', secret_env: A}, {url: 'https://b.example/', "
        "secret_env: B}], allowed_hosts: [c.example], secret_env: C}\n"
    )
    loaded = load(path, environ={"A": "whsec_of-the-first\n"})
    assert loaded.credentials.webhook_secrets == {"A": "whsec_of-the-first", "B": "", "C": ""}
    assert "whsec_of-the-first" in loaded.confidential
    assert loaded.credentials.missing == [
        "webhooks.targets[1].secret_env: B is not set",
        "webhooks.secret_env: C is not set",
    ]


def test_malformed_headers_of_the_standard_variables_are_masked_as_a_whole(tmp_path: Path) -> None:
    loaded = observed(
        tmp_path, {"tracing": True}, OTEL_EXPORTER_OTLP_HEADERS="x-team=a, authorization: Bearer the-token"
    )
    assert loaded.confidential == ["authorization: Bearer the-token"]


def test_headers_for_the_collector_are_read_and_masked(tmp_path: Path) -> None:
    loaded = observed(
        tmp_path,
        {"tracing": {"headers_env": "HEADERS"}},
        HEADERS=" Authorization=Bearer%20the-token%2C1 ,x-team=a,,x-b = c%3Dd ",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=of-the-variables,malformed",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="api-key=of-the-other-variable",
    )
    found = loaded.credentials
    assert found.tracing_headers == {"authorization": "Bearer the-token,1", "x-team": "a", "x-b": "c=d"}
    assert found.missing == []
    assert loaded.confidential == [
        "Bearer the-token,1",
        "the-token,1",
        "of-the-variables",
        "malformed",
        "of-the-other-variable",
    ]
    assert loaded.warnings == []


@pytest.mark.parametrize("headers", ["nonsense", "a b=c", "a=b%0Ac", "=b", "a="])
def test_malformed_headers_for_the_collector_are_refused_without_being_shown(
    tmp_path: Path, headers: str
) -> None:
    loaded = observed(tmp_path, {"tracing": {"headers_env": "HEADERS"}}, HEADERS=headers)
    assert loaded.credentials.missing == [
        "observability.tracing.headers_env: HEADERS must be name=value, separated by commas"
    ]


def test_variables_of_traces_are_needed_only_for_traces(tmp_path: Path) -> None:
    off = {"tracing": False, "langfuse": {"enabled": False}}
    assert observed(tmp_path, off, OTEL_EXPORTER_OTLP_HEADERS="api-key=of-the-variables").confidential == []
    on = {"tracing": {"headers_env": "HEADERS"}, "langfuse": {"enabled": True, "secret_key_env": "SECRET"}}
    assert observed(tmp_path, on).credentials.missing == [
        "observability.tracing.headers_env: HEADERS is not set",
        "observability.langfuse.public_key_env: LANGFUSE_PUBLIC_KEY is not set",
        "observability.langfuse.secret_key_env: SECRET is not set",
    ]


def test_keys_of_langfuse_and_a_password_of_the_collector_are_masked(tmp_path: Path) -> None:
    loaded = observed(
        tmp_path,
        {"tracing": {"endpoint": "http://me:the-password@collector:4318"}, "langfuse": {"enabled": True}},
        LANGFUSE_PUBLIC_KEY="pk-lf-1234",
        LANGFUSE_SECRET_KEY="sk-lf-5678\n",
    )
    assert loaded.credentials.langfuse_keys == ("pk-lf-1234", "sk-lf-5678")
    basic = b64encode(b"pk-lf-1234:sk-lf-5678").decode()
    assert set(loaded.confidential) == {"pk-lf-1234", "sk-lf-5678", basic, "the-password"}


def observed(tmp_path: Path, observability: dict[str, object], **variables: str) -> Loaded:
    content = {"version": "1.0", "agent": {"name": "bot", "handler": "app:handle"}}
    (tmp_path / "Dockfile.yaml").write_text(json.dumps({**content, "observability": observability}))
    return load(tmp_path / "Dockfile.yaml", environ=variables)


@pytest.mark.parametrize(
    ("value", "token", "missing"),
    [
        ("a token\n", "a token", []),
        ("", "", ["agent.token_env: KEY is not set"]),
        ("a\nb", "a\nb", ["agent.token_env: KEY has characters that no header may have"]),
        ("é", "é", ["agent.token_env: KEY has characters that no header may have"]),
    ],
    ids=["set", "not set", "line break", "not ASCII"],
)
def test_the_token_of_an_agents_url_is_fit_for_a_header(value: str, token: str, missing: list[str]) -> None:
    bot = AgentSpec(name="bot", url="http://h/", token_env="KEY")
    found = read_credentials(Dockfile("1.0", bot, IoSchemaSpec(), ExposeSpec()), {"KEY": value})
    assert (found.agent_token, found.missing) == (token, missing)


def test_the_token_of_an_agents_url_is_confidential(write: Callable[..., Path]) -> None:
    path = write("agent: {name: bot, url: 'http://h/', token_env: KEY}")
    assert LONG in load(path, environ={"KEY": LONG}).confidential
