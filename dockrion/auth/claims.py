"""What a token that is good says of its owner."""

import re
from collections.abc import Mapping
from typing import Any

from dockrion.auth.authenticator import invalid_credentials
from dockrion.auth.roles import Roles
from dockrion.caller import Caller
from dockrion.dockfile.safety_structs import ClaimsSpec

_LATEST = 253_402_300_799  # the end of the year 9999, the last that a date can have
_MOST_TEXT = 1000
_LIST_ENDS = str.maketrans(",", " ")
# Neither a header nor a log line can be made of it, or it has no UTF-8 form.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def caller_of(claims: Mapping[str, Any], where: ClaimsSpec, roles: Roles, *, leeway: float = 0.0) -> Caller:
    """Return whom claims speak of.

    Args:
        claims: Of a token that is good.
        where: Where a token says what.
        roles: The Dockfile's roles.
        leeway: How long it is good after its end, in seconds.

    Raises:
        Unauthorized: They do not say who, or not until when.
    """
    user_id = _identity(claims, where.user_id)
    if user_id is None:
        raise invalid_credentials()
    its_roles = _texts(_at(claims, where.roles))
    return Caller(
        user_id=user_id,
        name=_text(_at(claims, where.name)),
        email=_text(_at(claims, where.email)),
        roles=its_roles,
        permissions=roles.permissions(its_roles, _texts(_at(claims, where.permissions))),
        scopes=_texts(_at(claims, where.scopes)),
        tenant_id=None if where.tenant_id is None else _identity(claims, where.tenant_id),
        expires_at=_expires_at(claims.get("exp"), leeway),
    )


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its own name, dots and all, or by a path with dots."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _identity(claims: Mapping[str, Any], path: str) -> str | None:
    """Return what tells callers apart: one that is unfit must not pass for none, nor be cut."""
    value = _at(claims, path)
    text = _text(value)
    if text is None and value is not None:
        raise invalid_credentials()
    return text


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    fit = isinstance(value, str) and 0 < len(value) <= _MOST_TEXT and not _UNFIT.search(value)
    return value if fit else None


def _texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts, or those that one text lists (as `scope` does, RFC 8693, 4.2)."""
    if isinstance(value, str):
        value = value.translate(_LIST_ENDS).split()
    listed = value if isinstance(value, list) else []
    return tuple(each for each in listed if isinstance(each, str) and _text(each))


def _expires_at(exp: Any, leeway: float) -> float | None:
    """Return when a token ends (a NumericDate, RFC 7519, 2), or None if it does not say so."""
    if exp is None:
        return None
    if isinstance(exp, bool) or not isinstance(exp, int | float) or not exp > 0:
        raise invalid_credentials()
    return float(min(exp, _LATEST)) + leeway
