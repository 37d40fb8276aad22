"""Rules of the section `auth`, see `rules`."""

from dockrion.dockfile.auth_structs import ApiKeysSpec, AuthSpec, JwtSpec, RoleSpec
from dockrion.dockfile.credentials import DEFAULT_CALLER
from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.problems import KeyPath


def check_auth(auth: AuthSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check the section, and warn of roles that nobody has and of permissions that none grants."""
    if auth.mode == "api_key" and not auth.api_keys.enabled:
        diagnostics.error((*keys, "api_keys", "enabled"), "false with mode api_key would reject every caller")
    if auth.mode == "oauth2" and auth.oauth2.introspection_url is None:
        diagnostics.error((*keys, "oauth2", "introspection_url"), "required with mode oauth2, but missing")
    only_one_named = (auth.oauth2.client_id_env is None) != (auth.oauth2.client_secret_env is None)
    if auth.mode == "oauth2" and only_one_named:
        diagnostics.error((*keys, "oauth2"), "expected both of client_id_env, client_secret_env, or neither")
    if auth.mode == "jwt" and (auth.jwt.jwks_url is None) == (auth.jwt.public_key_env is None):
        diagnostics.error((*keys, "jwt"), "expected exactly one of jwks_url, public_key_env")

    for index, role in enumerate(auth.roles):
        if auth.mode == "api_key" and (reason := _unattainable(role.name, auth.api_keys)):
            diagnostics.warn((*keys, "roles", index, "name"), f"nobody can have this role: {reason}")
    if auth.mode in ("jwt", "oauth2") and auth.roles and not _any_grants_invoke(auth.roles):
        claim = auth.jwt.claims.permissions
        message = f"no role grants invoke, so only tokens whose claim {claim} has it can invoke the agent"
        diagnostics.warn((*keys, "roles"), message)


def check_jwt(jwt: JwtSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check with what tokens are verified."""
    symmetric = {name.startswith("HS") for name in jwt.algorithms}
    if not symmetric:
        diagnostics.error((*keys, "algorithms"), "expected at least one")
    elif len(symmetric) > 1 or (True in symmetric and jwt.jwks_url is not None):
        # Otherwise a token signed with the public key as the shared secret would be accepted.
        diagnostics.error((*keys, "algorithms"), "HS algorithms cannot be combined with public keys")


def check_roles(roles: list[RoleSpec], keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check that each role is defined once."""
    names = [role.name for role in roles]
    for index, name in enumerate(names):
        if name in names[:index]:
            diagnostics.error((*keys, index, "name"), f"{diagnostics.format_value(name)} is defined twice")


def _unattainable(role: str, api_keys: ApiKeysSpec) -> str | None:
    """Return why no API key can have a role, if that is certain."""
    if role == DEFAULT_CALLER:
        return None
    if api_keys.prefix is None:
        return f"without api_keys.prefix, every key is named {DEFAULT_CALLER}"
    return "the names of keys are in lower case" if role != role.lower() else None


def _any_grants_invoke(roles: list[RoleSpec]) -> bool:
    return any("invoke" in role.permissions for role in roles)
