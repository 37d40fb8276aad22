"""Valid and invalid credentials for each authentication mode."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from tests.auth.issuers import AUDIENCE, ISSUER, issue_token, issuer, signing_key

Headers = dict[str, str]
# Users are named after their roles; `owner` and `other` share permissions, the role of `wanderer` is unknown.
PERMISSIONS: dict[str, list[str]] = {
    "owner": ["invoke", "view_metrics", "read_docs"],
    "other": ["invoke", "view_metrics", "read_docs"],
    "auditor": ["invoke", "read_logs"],
    "worker": ["invoke"],
    "operator": ["view_metrics"],
    "scribe": ["read_docs"],
    "deployer": ["deploy", "rollback", "key_manage"],
    "peeping": ["read_logs"],
    "approver": ["respond"],
    "wanderer": [],
}
ROLES = [
    {"name": name, "permissions": permissions} for name, permissions in PERMISSIONS.items() if permissions
]
_FOREIGN = signing_key("RS256", "another issuer's")


@dataclass
class AuthMode:
    """An authentication mode, with credentials for it.

    Attributes:
        auth: The Dockfile's section, without roles.
        variables: Environment variables that it needs.
        key: Returns the headers of a user whose only role is named like the user.
        wrong: Invalid headers, by what is wrong about them.
    """

    auth: dict[str, Any]
    variables: dict[str, str]
    key: Callable[[str], Headers]
    wrong: dict[str, Headers]

    def sections(self, folder: Path, *, roles: bool = True, **auth: Any) -> dict[str, Any]:
        """Set the variables, and return the Dockfile's section."""
        lines = (f'{name}="{value}"\n' for name, value in self.variables.items())
        (folder / ".env").write_text("".join(lines))
        return {"auth": self.auth | ({"roles": ROLES} if roles else {}) | auth}


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def key_of(user: str) -> str:
    """Return the API key of a user."""
    return f"the key of {user} that nobody guesses"


def token_of(user: str, **claims: Any) -> str:
    return issue_token(sub=user, roles=[user], **claims)


@asynccontextmanager
async def api_keys() -> AsyncIterator[AuthMode]:
    yield AuthMode(
        {"mode": "api_key", "api_keys": {"prefix": "KEY_OF_"}},
        {f"KEY_OF_{user.upper()}": key_of(user) for user in PERMISSIONS},
        lambda user: {"X-API-Key": key_of(user)},
        {
            "no credential": {},
            "wrong": {"X-API-Key": "some key or other, long enough"},
            "expired": {"X-API-Key": "a key that was rotated out"},
            "wrong audience": bearer(token_of("owner")),
        },
    )


def _wrong_tokens() -> dict[str, Headers]:
    none = jwt.encode({"sub": "owner", "exp": 2**32, "aud": AUDIENCE, "iss": ISSUER}, "", algorithm="none")
    return {
        "no credential": {},
        "wrong": bearer(token_of("owner", signed_by=_FOREIGN)),
        "expired": bearer(token_of("owner", exp=int(time.time()) - 60)),
        "wrong audience": bearer(token_of("owner", aud="another")),
        "wrong issuer": bearer(token_of("owner", iss="https://another.test")),
        "unsigned": bearer(none),
        "where keys are sent": {"X-API-Key": token_of("owner")},
    }


def _jwt(**key: str) -> dict[str, Any]:
    return {"mode": "jwt", "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "leeway_seconds": 0, **key}}


@asynccontextmanager
async def public_key() -> AsyncIterator[AuthMode]:
    pem = signing_key().pem.replace("\n", "\\n")
    yield AuthMode(
        _jwt(public_key_env="PUBLIC_KEY"),
        {"PUBLIC_KEY": pem},
        lambda user: bearer(token_of(user)),
        _wrong_tokens(),
    )


@asynccontextmanager
async def key_set() -> AsyncIterator[AuthMode]:
    async with issuer() as served:
        yield AuthMode(
            _jwt(jwks_url=served.jwks_url), {}, lambda user: bearer(token_of(user)), _wrong_tokens()
        )


@asynccontextmanager
async def introspection() -> AsyncIterator[AuthMode]:
    async with issuer() as served:
        yield AuthMode(
            {"mode": "oauth2", "oauth2": {"introspection_url": served.introspection_url}},
            {},
            lambda user: bearer(served.activate(f"opaque-{user}", sub=user, roles=[user])),
            {
                "no credential": {},
                "wrong": bearer("opaque-unknown"),
                "expired": bearer(served.activate("late", sub="owner", roles=["owner"], exp=1)),
                "wrong audience": bearer(token_of("owner")),
                "where keys are sent": {"X-API-Key": served.activate("good", sub="owner", roles=["owner"])},
            },
        )


AUTH_MODES: dict[str, Callable[[], AbstractAsyncContextManager[AuthMode]]] = {
    "api_key": api_keys,
    "jwt public key": public_key,
    "jwt key set": key_set,
    "oauth2": introspection,
}
