"""From the Dockfile's `auth` section to an authenticator."""

import re

from dockrion.auth.api_keys import ApiKeyAuthenticator
from dockrion.auth.authenticator import Authenticator, Roles
from dockrion.auth.introspection import IntrospectionAuthenticator
from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.credentials import Credentials
from dockrion.errors import StartError

_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5


def create_authenticator(auth: AuthSpec | None, credentials: Credentials) -> Authenticator | None:
    """Return the configured authenticator, or None if the service is open to everybody.

    Args:
        auth: The Dockfile's `auth` section.
        credentials: The keys and secrets that the environment holds for it.

    Raises:
        StartError: A key is missing or malformed, or no caller could invoke the agent.
    """
    if auth is None or auth.mode == "none":
        return None
    if credentials.missing:
        raise StartError("\n".join(credentials.missing))
    roles = Roles(auth.roles)
    if auth.mode == "api_key":
        return _api_keys(credentials.api_keys, roles)
    if auth.mode == "oauth2":
        return IntrospectionAuthenticator(auth.oauth2, credentials.client, auth.jwt.claims, roles)
    from dockrion.auth.jwt_tokens import JwtAuthenticator  # noqa: PLC0415  cryptography: 12 MiB

    try:
        return JwtAuthenticator(auth.jwt, credentials.public_key, roles)
    except ValueError as error:
        variable = auth.jwt.public_key_env
        raise StartError(f"auth.jwt.public_key_env: {variable} holds {error}") from None


def _api_keys(keys: list[tuple[str, str]], roles: Roles) -> ApiKeyAuthenticator:
    names = list(dict.fromkeys(name for name, _ in keys))
    for name, key in keys:
        if _NOT_IN_HEADERS.search(key):
            raise StartError(
                f"auth.api_keys: a key of {name} contains a line break or another control character, so no "
                "request could carry it; remove that character"
            )
    try:
        authenticator = ApiKeyAuthenticator(keys, roles)
    except ValueError as error:
        raise StartError(f"auth.api_keys: {error}; give each its own") from None
    if "invoke" not in authenticator.permissions:
        raise StartError(
            "auth.roles: no API key has the permission invoke, so nobody could invoke the agent; grant it to "
            f"a role that is named like one of the keys: {', '.join(names)}"
        )
    return authenticator
