"""API keys and tokens: the values of the environment variables that a Dockfile names for them."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.dockfile.auth_structs import ApiKeysSpec, AuthSpec, OAuth2Spec
from dockrion.dockfile.observability_structs import LangfuseSpec, TracingSpec
from dockrion.dockfile.problems import KeyPath, dotted
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.webhooks_structs import targets
from dockrion.dockfile.yaml_scalars import is_unicode

DEFAULT_CALLER = "default"
_MIN_KEY_LENGTH = 16  # characters; a shorter key may be found by guessing
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)  # RFC 9110, 5.1
_HEADER_VALUE = re.compile(r"[\t -~]+")
_STANDARD_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


class LangfuseKeys(NamedTuple):
    """The keys of a project of Langfuse."""

    public: str
    secret: str

    @property
    def basic(self) -> str:
        """The credentials of both, for Basic authentication (RFC 7617, 2)."""
        return b64encode(f"{self.public}:{self.secret}".encode()).decode()


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The credentials of one service.

    Attributes:
        agent_token: The key or token for `agent.url`, or None if the Dockfile names no variable for it.
        ingest_token: The token for pushing events, or None if the Dockfile names no variable for it.
        api_keys: Pairs of caller name and key.
        public_key: The key that verifies JWTs; with an HS algorithm, the shared secret.
        client: This service's client id and secret for token introspection.
        webhook_secrets: The secrets that sign webhooks, by the name of their variable.
        tracing_headers: The headers for the collector; None if the Dockfile names no variable for them.
        standard_headers: Those of the standard variables of OpenTelemetry, if requests and runs are traced; a
            malformed one as a whole, by the name of its variable.
        langfuse_keys: The keys for Langfuse; None unless it is enabled.
        missing: One line for each variable that must be set and is not, or is malformed.
    """

    agent_token: str | None = None
    ingest_token: str | None = None
    api_keys: list[tuple[str, str]] = []
    public_key: str | None = None
    client: tuple[str, str] | None = None
    webhook_secrets: dict[str, str] = {}
    tracing_headers: dict[str, str] | None = None
    standard_headers: list[tuple[str, str]] = []
    langfuse_keys: LangfuseKeys | None = None
    missing: list[str] = []

    @property
    def collector_headers(self) -> list[tuple[str, str]]:
        """Name and value of all headers for collectors."""
        return [*(self.tracing_headers or {}).items(), *self.standard_headers]


def read_credentials(dockfile: Dockfile, variables: Mapping[str, str]) -> Credentials:
    """Read the credentials that a Dockfile names variables for.

    Args:
        dockfile: The Dockfile.
        variables: The environment, and the defaults of declared secrets.
    """
    auth = dockfile.auth or AuthSpec(mode="none")
    observability = dockfile.observability
    reader = _Reader(variables)
    return Credentials(
        agent_token=reader.agent_token(dockfile.agent),
        ingest_token=reader.token("streaming.ingest.token_env", dockfile.streaming.ingest.token_env),
        api_keys=reader.api_keys(auth.api_keys) if auth.mode == "api_key" else [],
        public_key=reader.value("auth.jwt.public_key_env", auth.jwt.public_key_env)
        if auth.mode == "jwt"
        else None,
        client=reader.client(auth.oauth2) if auth.mode == "oauth2" else None,
        webhook_secrets=reader.webhook_secrets(dockfile),
        tracing_headers=reader.tracing_headers(observability.tracing_spec),
        standard_headers=reader.standard_headers() if observability.traced else [],
        langfuse_keys=reader.langfuse_keys(observability.langfuse),
        missing=reader.missing,
    )


def credential_warnings(auth: AuthSpec, credentials: Credentials) -> Iterator[tuple[KeyPath, str]]:
    """Yield warnings about API keys, each with the key path of the section it concerns."""
    roles = {role.name for role in auth.roles}
    for name, key in credentials.api_keys:
        if len(key) < _MIN_KEY_LENGTH:
            message = f"a key of {name} has fewer than {_MIN_KEY_LENGTH} characters and may be guessed"
            yield ("auth", "api_keys"), message
    for name in dict.fromkeys(name for name, _ in credentials.api_keys):
        if roles and name not in roles and name != DEFAULT_CALLER:
            yield ("auth", "roles"), f"no role is named {name}: the API key of that name has no permissions"


class _Reader:
    """Reads environment variables and records those that are missing."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.missing: list[str] = []
        self._variables = variables

    def token(self, field: str, variable: str | None) -> str | None:
        """Return a value as `value` does, without the line break with which a file may have ended."""
        value = self.value(field, variable)
        return None if value is None else value.strip()

    def value(self, field: str, variable: str | None) -> str | None:
        """Return the value of the variable that a field names, and record it if it is not set."""
        if variable is None:
            return None
        value = self._variables.get(variable, "")
        value = value if value.strip() else ""
        if not value:
            self.missing.append(f"{field}: {variable} is not set")
        return value

    def agent_token(self, spec: AgentSpec) -> str | None:
        if spec.mode != "url" or spec.token_env is None:
            return None
        token = self.token("agent.token_env", spec.token_env)
        if token and not _HEADER_VALUE.fullmatch(token):
            self.missing.append(f"agent.token_env: {spec.token_env} has characters that no header may have")
        return token

    def client(self, spec: OAuth2Spec) -> tuple[str, str] | None:
        client_id = self.token("auth.oauth2.client_id_env", spec.client_id_env)
        secret = self.token("auth.oauth2.client_secret_env", spec.client_secret_env)
        return None if client_id is None or secret is None else (client_id, secret)

    def api_keys(self, spec: ApiKeysSpec) -> list[tuple[str, str]]:
        callers = {} if spec.prefix is None else self._callers_by_variable(spec.prefix)
        callers[spec.env_var] = DEFAULT_CALLER
        keys = [
            (caller, key.strip())
            for variable, caller in callers.items()
            for key in self._variables.get(variable, "").split(",")
            if key.strip()
        ]
        if not keys:
            alternative = f", nor is any {spec.prefix}…" if spec.prefix else ""
            self.missing.append(f"auth.api_keys.env_var: {spec.env_var} is not set{alternative}")
        return keys

    def webhook_secrets(self, dockfile: Dockfile) -> dict[str, str]:
        fields = [((*keys, "secret_env"), target.secret_env) for keys, target in targets(dockfile.webhooks)]
        if dockfile.webhooks_spec is not None and dockfile.webhooks_spec.secret_env is not None:
            fields.append((("webhooks", "secret_env"), dockfile.webhooks_spec.secret_env))
        return {variable: self.token(dotted(keys), variable) or "" for keys, variable in fields}

    def tracing_headers(self, spec: TracingSpec | None) -> dict[str, str] | None:
        field = "observability.tracing.headers_env"
        if spec is None or spec.headers_env is None:
            return None
        headers = _parse_headers(self.token(field, spec.headers_env) or "")
        if headers is None:
            self.missing.append(f"{field}: {spec.headers_env} must be name=value, separated by commas")
        return dict(headers or ())

    def standard_headers(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in _STANDARD_HEADERS:
            for entry in self._variables.get(name, "").split(","):
                headers = _parse_headers(entry)
                # OpenTelemetry logs what is malformed.
                found += [(name, entry.strip())] if headers is None else headers
        return found

    def langfuse_keys(self, spec: LangfuseSpec) -> LangfuseKeys | None:
        if not spec.enabled:
            return None
        section = "observability.langfuse"
        public = self.token(f"{section}.public_key_env", spec.public_key_env)
        return LangfuseKeys(public or "", self.token(f"{section}.secret_key_env", spec.secret_key_env) or "")

    def _callers_by_variable(self, prefix: str) -> dict[str, str]:
        """Return the variables that start with the prefix, and the name of the caller of each."""
        return {
            variable: variable.removeprefix(prefix).lower() or DEFAULT_CALLER
            for variable in self._variables
            if variable.startswith(prefix) and is_unicode(variable)
        }


def _parse_headers(text: str) -> list[tuple[str, str]] | None:
    """Return the headers in a text such as `name=value,other=value`; None if it has another form.

    Values are percent-encoded, as in the standard variables (OpenTelemetry, OTLP exporter configuration).
    """
    headers = []
    for entry in filter(str.strip, text.split(",")):
        name, separator, value = entry.partition("=")
        name, value = unquote(name).strip().lower(), unquote(value).strip()
        if not (separator and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            return None
        headers.append((name, value))
    return headers
