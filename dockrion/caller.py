"""Who asks."""

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who proved who they are.

    Attributes:
        user_id: Who: the subject of a token, or the name of an API key.
        name: Their name, or None.
        email: Their e-mail address, or None.
        roles: Their roles.
        permissions: What they may do.
        scopes: The scopes of their token.
        tenant_id: Whom they belong to, or None.
        expires_at: When the proof ends, in seconds since the epoch; None for never.
    """

    user_id: str
    name: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    tenant_id: str | None = None
    expires_at: float | None = None

    @property
    def owner(self) -> str:
        """What a run of theirs is marked with. JSON, so that no two callers share a mark."""
        return msgspec.json.encode([self.tenant_id, self.user_id]).decode()
