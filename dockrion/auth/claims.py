"""From the claims of a verified token to a caller."""

import re
from collections.abc import Mapping
from typing import Any

from dockrion.auth.authenticator import Roles, invalid_credentials
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec

_MAX_TIMESTAMP = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that `datetime` can represent
_MAX_TEXT = 1000
_LIST_SEPARATORS = str.maketrans(",", " ")
# Control characters could forge a header or a log line; lone surrogates have no UTF-8 form.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def caller_from_claims(
    claims: Mapping[str, Any], spec: ClaimsSpec, roles: Roles, *, leeway: float = 0.0
) -> Caller:
    """Return the caller that a token's claims describe.

    Args:
        claims: The claims of a verified token.
        spec: Which claim holds which property of the caller.
        roles: The Dockfile's roles.
        leeway: How long the token stays valid after its `exp`, in seconds.

    Raises:
        Unauthorized: The claims lack a user id, or an identity or `exp` is malformed.
    """
    user_id = _identity(claims, spec.user_id)
    if user_id is None:
        raise invalid_credentials()
    own_roles = _texts(_claim(claims, spec.roles))
    return Caller(
        user_id=user_id,
        name=_text(_claim(claims, spec.name)),
        email=_text(_claim(claims, spec.email)),
        roles=own_roles,
        permissions=roles.permissions(own_roles, _texts(_claim(claims, spec.permissions))),
        scopes=_texts(_claim(claims, spec.scopes)),
        tenant_id=None if spec.tenant_id is None else _identity(claims, spec.tenant_id),
        expires_at=_expires_at(claims.get("exp"), leeway),
    )


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim of exactly this name (which may contain dots), else the one at the dotted path."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _identity(claims: Mapping[str, Any], path: str) -> str | None:
    """Return a claim that tells callers apart.

    A malformed one is refused: treated as absent or truncated, it could equal another caller's.
    """
    value = _claim(claims, path)
    text = _text(value)
    if text is None and value is not None:
        raise invalid_credentials()
    return text


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    valid = isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and not _FORBIDDEN.search(value)
    return value if valid else None


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts in a list, or in a delimited string (as `scope` is, RFC 8693, 4.2)."""
    if isinstance(value, str):
        value = value.translate(_LIST_SEPARATORS).split()
    items = value if isinstance(value, list) else []
    return tuple(item for item in items if isinstance(item, str) and _text(item))


def _expires_at(exp: Any, leeway: float) -> float | None:
    """Return when a token expires (a NumericDate, RFC 7519, 2), or None without an `exp`."""
    if exp is None:
        return None
    if isinstance(exp, bool) or not isinstance(exp, int | float) or not exp > 0:
        raise invalid_credentials()
    return float(min(exp, _MAX_TIMESTAMP)) + leeway
