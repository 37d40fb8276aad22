"""The keys and tokens that the Dockfile names variables for."""

from collections.abc import Iterator, Mapping

import msgspec

from dockrion.dockfile.auth_structs import ApiKeysSpec, AuthSpec, OAuth2Spec
from dockrion.dockfile.problems import Keys
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.yaml_source import is_unicode

DEFAULT_CALLER = "default"
_LONG_ENOUGH = 16  # characters that nobody guesses


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment holds for a Dockfile.

    Args:
        ingest_token: What other processes have to send with their events; None where none is
            asked for.
        api_keys: The name of the caller and the key, of each key.
        public_key: What verifies tokens; with an HS algorithm, the secret.
        client: The service's own id and secret at the issuer of tokens.
        missing: A line for each variable that should hold something and does not.
    """

    ingest_token: str | None = None
    api_keys: list[tuple[str, str]] = []
    public_key: str | None = None
    client: tuple[str, str] | None = None
    missing: list[str] = []

    @property
    def confidential(self) -> list[str]:
        """What must never be shown; a client's id is no secret (RFC 6749, 2.2)."""
        secret = self.client[1] if self.client else None
        values = [self.ingest_token, self.public_key, secret, *(key for _, key in self.api_keys)]
        return [value for value in values if value]


def read_credentials(dockfile: Dockfile, variables: Mapping[str, str]) -> Credentials:
    """Collect what a Dockfile asks for.

    Args:
        dockfile: It names the variables.
        variables: The environment, and the defaults of declared secrets.
    """
    auth = dockfile.auth or AuthSpec(mode="none")
    found = _Finder(variables)
    return Credentials(
        ingest_token=found.value("streaming.ingest.token_env", dockfile.streaming.ingest.token_env),
        api_keys=found.api_keys(auth.api_keys) if auth.mode == "api_key" else [],
        public_key=found.value("auth.jwt.public_key_env", auth.jwt.public_key_env)
        if auth.mode == "jwt"
        else None,
        client=found.client(auth.oauth2) if auth.mode == "oauth2" else None,
        missing=found.missing,
    )


def doubts(auth: AuthSpec, credentials: Credentials) -> Iterator[tuple[Keys, str]]:
    """Yield what is odd about a Dockfile's keys: where, and what."""
    roles = {role.name for role in auth.roles}
    for name, key in credentials.api_keys:
        if len(key) < _LONG_ENOUGH:
            yield (
                ("auth", "api_keys"),
                f"a key of {name} has fewer than {_LONG_ENOUGH} characters: it may be guessed",
            )
    for name in dict.fromkeys(name for name, _ in credentials.api_keys):
        if roles and name not in roles:
            yield ("auth", "roles"), f"none is named {name}: the API key of that name opens nothing"


class _Finder:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self.missing: list[str] = []
        self._variables = variables

    def value(self, field: str, variable: str | None) -> str | None:
        """Return what a field's variable holds; nothing, and a line in `missing`, if it is not set."""
        if variable is None:
            return None
        value = self._variables.get(variable, "")
        if not value:
            self.missing.append(f"{field}: {variable} is not set")
        return value

    def client(self, spec: OAuth2Spec) -> tuple[str, str] | None:
        client_id = self.value("auth.oauth2.client_id_env", spec.client_id_env)
        secret = self.value("auth.oauth2.client_secret_env", spec.client_secret_env)
        return None if client_id is None or secret is None else (client_id, secret)

    def api_keys(self, spec: ApiKeysSpec) -> list[tuple[str, str]]:
        callers = {} if spec.prefix is None else self._named_after(spec.prefix)
        callers.setdefault(spec.env_var, DEFAULT_CALLER)
        keys = [
            (caller, key.strip())
            for variable, caller in callers.items()
            for key in self._variables.get(variable, "").split(",")
            if key.strip()
        ]
        if not keys:
            instead = f", nor is any {spec.prefix}…" if spec.prefix else ""
            self.missing.append(f"auth.api_keys.env_var: {spec.env_var} is not set{instead}")
        return keys

    def _named_after(self, prefix: str) -> dict[str, str]:
        """Return the variables that start with a prefix, and the caller whose key each holds."""
        return {
            variable: variable.removeprefix(prefix).lower() or DEFAULT_CALLER
            for variable in self._variables
            if variable.startswith(prefix) and is_unicode(variable)
        }
