"""What a Dockfile and its environment keep secret: the values to mask in all output."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.problems import KeyPath
from dockrion.dockfile.structs import Dockfile
from dockrion.redaction import MIN_LENGTH, MIN_LENGTH_WITHIN_WORDS, effective_length


class Confidential(NamedTuple):
    """A value that no output may contain.

    Attributes:
        keys: The key path of the field that it belongs to.
        name: What it is, for messages.
        value: The value.
    """

    keys: KeyPath
    name: str
    value: str


def confidential_values(
    dockfile: Dockfile, secrets: Mapping[str, str], credentials: Credentials
) -> Iterator[Confidential]:
    """Yield the secrets, keys and tokens, and the passwords in URLs. A client id is none (RFC 6749, 2.2).

    Args:
        dockfile: The Dockfile.
        secrets: The declared secrets that have a value.
        credentials: The credentials that it names variables for.
    """
    for kind, declared in (("required", dockfile.secrets.required), ("optional", dockfile.secrets.optional)):
        for index, secret in enumerate(declared):
            if text := secrets.get(secret.name):
                yield Confidential(("secrets", kind, index), secret.name, text)
    for caller, key in credentials.api_keys:
        yield Confidential(("auth", "api_keys"), f"a key of {caller}", key)
    for keys, name, value in (
        (("agent", "token_env"), "the token for agent.url", credentials.agent_token),
        (("streaming", "ingest", "token_env"), "the token for pushing", credentials.ingest_token),
        (("auth", "jwt", "public_key_env"), "the verification key", credentials.public_key),
        (("auth", "oauth2", "client_secret_env"), "the client secret", (credentials.client or ("", ""))[1]),
    ):
        if value:
            yield Confidential(keys, name, value)
    for variable, value in credentials.webhook_secrets.items():
        if value:
            yield Confidential(("webhooks",), f"the secret in {variable}", value)
    yield from _tracing_secrets(credentials)
    for url_keys, url in _urls(dockfile):
        for password in _passwords(url):
            yield Confidential(url_keys, "the password", password)


def _tracing_secrets(credentials: Credentials) -> Iterator[Confidential]:
    section: KeyPath = ("observability",)
    for name, value in credentials.collector_headers:
        if effective_length(value) < MIN_LENGTH_WITHIN_WORDS:  # the name of a tenant, and no secret
            continue
        yield Confidential(section, f"the header {name}", value)
        scheme, _, parameter = value.partition(" ")  # RFC 9110, 11.4
        if scheme.lower() in ("basic", "bearer") and parameter.strip():
            yield Confidential(section, f"the header {name}", parameter.strip())
    if (keys := credentials.langfuse_keys) is not None and all(keys):
        for field, key in zip(("public_key_env", "secret_key_env"), keys, strict=True):
            yield Confidential((*section, "langfuse", field), "the key", key)
        yield Confidential((*section, "langfuse"), "the credentials", keys.basic)


def short_value_warnings(values: Iterable[Confidential]) -> Iterator[tuple[KeyPath, str]]:
    """Yield warnings about values too short to be masked everywhere, each with its key path."""
    lengths: dict[tuple[KeyPath, str], int] = {}
    for keys, name, value in values:
        lengths[keys, name] = min(effective_length(value), lengths.get((keys, name), MIN_LENGTH_WITHIN_WORDS))
    for (keys, name), length in lengths.items():
        if length < MIN_LENGTH:
            yield (
                keys,
                f"{name} has fewer than {MIN_LENGTH} characters, too few to be masked in logs and errors",
            )
        elif length < MIN_LENGTH_WITHIN_WORDS:
            message = (
                f"{name} has fewer than {MIN_LENGTH_WITHIN_WORDS} characters, so only whole words are masked"
            )
            yield keys, message


def _urls(dockfile: Dockfile) -> Iterator[tuple[KeyPath, str]]:
    agent, auth, streaming = dockfile.agent, dockfile.auth, dockfile.streaming
    for name in ("url", "cancel_url", "health_url", "input_url"):
        yield ("agent", name), getattr(agent, name) or ""
    if auth is not None:
        yield ("auth", "jwt", "jwks_url"), auth.jwt.jwks_url or ""
        yield ("auth", "oauth2", "introspection_url"), auth.oauth2.introspection_url or ""
    if (tracing := dockfile.observability.tracing_spec) is not None:
        yield ("observability", "tracing", "endpoint"), tracing.endpoint or ""
    if streaming.backend == "redis":
        yield ("streaming", "redis", "url"), streaming.redis.url


def _passwords(url: str) -> Iterator[str]:
    """Yield the passwords in a URL, as it has them and decoded."""
    # Not by `urlsplit`: a URL may name several hosts, which Python 3.14 refuses with IPv6 addresses.
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    query = parse_qsl(url.partition("#")[0].partition("?")[2])
    named = (value for name, value in query if name in ("password", "sentinel_password"))
    passwords = [authority.rpartition("@")[0].partition(":")[2], *named]
    for password in filter(None, passwords):
        yield password
        yield unquote(password)
