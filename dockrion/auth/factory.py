"""From the Dockfile's `auth` section to an authenticator."""

from dockrion.auth.api_keys import ApiKeyAuthenticator
from dockrion.auth.authenticator import Authenticator, Roles
from dockrion.auth.introspection import IntrospectionAuthenticator
from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.credentials import Credentials
from dockrion.errors import StartError


def create_authenticator(auth: AuthSpec | None, credentials: Credentials) -> Authenticator | None:
    """Return the configured authenticator, or None if the service is open to everybody.

    Args:
        auth: The Dockfile's `auth` section.
        credentials: The keys and secrets that the environment holds for it.

    Raises:
        StartError: A key is missing or malformed.
    """
    if auth is None or auth.mode == "none":
        return None
    if credentials.missing:
        raise StartError("\n".join(credentials.missing))
    roles = Roles(auth.roles)
    if auth.mode == "api_key":
        try:
            return ApiKeyAuthenticator(credentials.api_keys, roles)
        except ValueError as error:
            raise StartError(f"auth.api_keys: {error}; give each its own") from None
    if auth.mode == "oauth2":
        return IntrospectionAuthenticator(auth.oauth2, credentials.client, auth.jwt.claims, roles)
    from dockrion.auth.jwt_tokens import JwtAuthenticator  # noqa: PLC0415  cryptography: 12 MiB

    try:
        return JwtAuthenticator(auth.jwt, credentials.public_key, roles)
    except ValueError as error:
        variable = auth.jwt.public_key_env
        raise StartError(f"auth.jwt.public_key_env: {variable} holds {error}") from None
