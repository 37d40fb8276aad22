"""From the Dockfile and its credentials to what tells who callers are."""

from dockrion.auth.api_keys import ApiKeys
from dockrion.auth.authenticator import Authenticator
from dockrion.auth.roles import Roles
from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.safety_structs import AuthSpec
from dockrion.errors import StartError


def create_authenticator(auth: AuthSpec | None, credentials: Credentials) -> Authenticator | None:
    """Return what tells who callers are, or None where everybody may come in.

    Args:
        auth: The Dockfile's section.
        credentials: What the environment holds for it.

    Raises:
        StartError: A key is missing, or is none.
    """
    if auth is None or auth.mode == "none":
        return None
    if credentials.missing:
        raise StartError("\n".join(credentials.missing))
    roles = Roles(auth.roles)
    if auth.mode == "api_key":
        try:
            return ApiKeys(credentials.api_keys, roles)
        except ValueError as error:
            raise StartError(f"auth.api_keys: {error}; give each its own") from None
    # Each is imported where it is wanted: they are not to be waited for, nor to be kept, by the others.
    if auth.mode == "oauth2":
        from dockrion.auth.introspection import Introspection  # noqa: PLC0415

        return Introspection(auth.oauth2, credentials.client, auth.jwt.claims, roles)
    from dockrion.auth.jwt_tokens import JsonWebTokens  # noqa: PLC0415

    try:
        return JsonWebTokens(auth.jwt, credentials.public_key, roles)
    except ValueError as error:
        variable = auth.jwt.public_key_env
        raise StartError(f"auth.jwt.public_key_env: {variable} holds {error}") from None
