from collections.abc import Callable
from pathlib import Path

import pytest

from dockrion.dockfile import DockfileError, Loaded, load

SECRET = 'hunter2-é"x\\'  # needs escapes in JSON and in a repr


def test_values_and_defaults(write: Callable[..., Path]) -> None:
    path = write(
        "secrets: {required: [{name: A}, {name: B, default: b}, {name: C}, {name: D}],"
        " optional: [{name: E, default: e}, {name: F}, {name: G, default: g}, {name: H}]}"
    )
    Path(".env").write_text("C=from-dotenv\nUNDECLARED=1\n")
    Path("env.yaml").write_text("F: from-yaml\n")
    result = load(path, environ={"A": "a", "D": "", "G": ""})
    assert result.secrets == {"A": "a", "B": "b", "C": "from-dotenv", "E": "e", "F": "from-yaml", "G": "g"}
    assert result.missing_secrets == ["D"]
    added = {"B": "b", "C": "from-dotenv", "E": "e", "F": "from-yaml", "G": "g", "UNDECLARED": "1"}
    assert result.agent_environment == added
    assert "1" not in result.confidential


def test_every_missing_secret_is_listed(loaded: Callable[..., Loaded]) -> None:
    result = loaded("secrets: {required: [{name: B}, {name: A}], optional: [{name: C}]}")
    assert (result.secrets, result.missing_secrets) == ({}, ["B", "A"])


@pytest.mark.parametrize(
    "text",
    [
        "agent: {name: '${KEY}', handler: '${KEY}', url: 'http://h:0/${KEY}', framework: 'x${KEY}'}",
        "expose: {port: '${KEY}', rest: '${KEY}', cors: {origins: ['http://${KEY}'], methods: ['${KEY}']}}",
        "streaming: {events: {allowed: '${KEY}'}, connection: ['${KEY}']}",
        "streaming: {events: {allowed: ['${KEY}', 'custom:${KEY}']}}",
        "streaming: {backend: redis, redis: {url: 'http://:${KEY}@h'}}",
        "io_schema: {input: {type: '${KEY}', minimum: '${KEY}', required: ['${KEY}'], properties: {a: {}}}}",
        "io_schema: {input: {pattern: '[${KEY}'}, output: {$ref: '#/${KEY}'}}",
        "io_schema: {input: {enum: '${KEY}', properties: {a: {items: ['${KEY}']}}}}",
        "io_schema: {input: {$schema: '${KEY}'}}",
        "policies: {safety: {redact_patterns: ['[${KEY}']}}",
        "auth: {rate_limits: {default: '${KEY}'}, roles: [{name: '${KEY}'}, {name: '${KEY}'}]}",
        # Truncated within the secret.
        f"agent: {{name: '{'x' * 55}${{KEY}}', handler: '{'x' * 57}${{KEY}}'}}",
    ],
)
@pytest.mark.parametrize("secret", [SECRET, "hunter2" * 30])
def test_messages_never_contain_secrets(secret: str, text: str, write: Callable[..., Path]) -> None:
    path = write(text, "secrets: {required: [{name: KEY}, {name: 5}], optional: [3]}")
    with pytest.raises(DockfileError) as caught:
        load(path, environ={"KEY": secret})
    assert len(caught.value.problems) > 2
    assert "hunte" not in str(caught.value)


def test_the_default_of_a_secret_is_masked(errors: Callable[..., list[str]]) -> None:
    lines = errors("secrets: {required: [{name: KEY, default: hunter2}]}", "expose: {port: hunter2}")
    assert lines == ['4:16: expose.port: expected an integer, 1\N{EN DASH}65535, got "***"']


TOO_SHORT = "fewer than 4 characters, too few to be masked in logs and errors"
WORDS_ONLY = "fewer than 8 characters, so only whole words are masked"


def test_short_values_are_warned_of_by_name(loaded: Callable[..., Loaded]) -> None:
    result = loaded(
        "secrets: {required: [{name: A}, {name: B}, {name: C}], optional: [{name: D, default: '1'}]}",
        "agent: {name: bot, url: 'http://u:pw@h/'}",
        "auth: {}",
        "streaming: {ingest: {enabled: true, token_env: PUSH}}",
        environ={
            "A": "true",
            "B": "abc \n",
            "C": "12345678",
            "DOCKRION_API_KEY": "abcde, " + "x" * 30,
            "PUSH": "tok",
        },
    )
    short = [str(each).partition(":")[2] for each in result.warnings if "fewer than 16" not in str(each)]
    assert short == [
        f"2:20: agent.url: the password has {TOO_SHORT}",
        f"5:22: secrets.required[0]: A has {WORDS_ONLY}",
        f"5:33: secrets.required[1]: B has {TOO_SHORT}",
        f"5:67: secrets.optional[0]: D has {TOO_SHORT}",
        f"6:7: auth.api_keys: a key of default has {WORDS_ONLY}",
        f"7:37: streaming.ingest.token_env: the token for pushing has {TOO_SHORT}",
    ]
    assert "abcde" not in str(result.warnings)


def test_passwords_of_a_cluster_and_of_sentinels_are_confidential(loaded: Callable[..., Loaded]) -> None:
    for url in (
        "redis+cluster://user:first%40secret@h:1,[::1]:2?password=second-secret",
        "redis+sentinel://:first%40secret@h:1,h/primary/0?sentinel_password=second-secret",
    ):
        result = loaded(f"streaming: {{backend: redis, redis: {{url: '{url}'}}}}")
        assert set(result.confidential) >= {"first%40secret", "first@secret", "second-secret"}


def test_short_values_are_not_masked_within_words(errors: Callable[..., list[str]]) -> None:
    lines = errors(
        "secrets: {required: [{name: A, default: x}, {name: B, default: stri}, {name: C, default: 'true'}]}",
        "expose: {port: next string}",
        "arguments: {timeout_sec: [true, x]}",
    )
    assert lines == [
        '4:16: expose.port: expected an integer, 1\N{EN DASH}65535, got "next string"',
        '6:26: arguments.timeout_sec: expected an integer, 0\N{EN DASH}86400, got [***, "x"]',
    ]
