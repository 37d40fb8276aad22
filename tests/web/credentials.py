"""Services that ask who is there, and what opens them and what does not, for each mode."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from tests.auth.issuers import AUDIENCE, ISSUER, issue_token, issuer, signing_key

Headers = dict[str, str]
# Users are named for their roles. `owner` and `other` may do the same; `wanderer` has a role of no name here.
MAY: dict[str, list[str]] = {
    "owner": ["invoke", "view_metrics", "read_docs"],
    "other": ["invoke", "view_metrics", "read_docs"],
    "auditor": ["invoke", "read_logs"],
    "worker": ["invoke"],
    "operator": ["view_metrics"],
    "scribe": ["read_docs"],
    "deployer": ["deploy", "rollback", "key_manage"],
    "peeping": ["read_logs"],
    "wanderer": [],
}
ROLES = [{"name": name, "permissions": permissions} for name, permissions in MAY.items() if permissions]
_FOREIGN = signing_key("RS256", "a stranger's")


@dataclass
class Door:
    """A way to prove who one is.

    Attributes:
        auth: The Dockfile's section, without roles.
        variables: What the environment has to hold.
        key: Returns what a user sends whose only role has their name.
        wrong: What proves nothing, by what is wrong about it.
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
async def api_keys() -> AsyncIterator[Door]:
    yield Door(
        {"mode": "api_key", "api_keys": {"prefix": "KEY_OF_"}},
        {f"KEY_OF_{user.upper()}": key_of(user) for user in MAY},
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
        "signed by nobody": bearer(none),
        "where keys are sent": {"X-API-Key": token_of("owner")},
    }


def _jwt(**key: str) -> dict[str, Any]:
    return {"mode": "jwt", "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "leeway_seconds": 0, **key}}


@asynccontextmanager
async def public_key() -> AsyncIterator[Door]:
    pem = signing_key().pem.replace("\n", "\\n")
    yield Door(
        _jwt(public_key_env="PUBLIC_KEY"),
        {"PUBLIC_KEY": pem},
        lambda user: bearer(token_of(user)),
        _wrong_tokens(),
    )


@asynccontextmanager
async def key_set() -> AsyncIterator[Door]:
    async with issuer() as served:
        yield Door(_jwt(jwks_url=served.jwks_url), {}, lambda user: bearer(token_of(user)), _wrong_tokens())


@asynccontextmanager
async def introspection() -> AsyncIterator[Door]:
    async with issuer() as served:
        yield Door(
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


DOORS: dict[str, Callable[[], AbstractAsyncContextManager[Door]]] = {
    "api_key": api_keys,
    "jwt public key": public_key,
    "jwt key set": key_set,
    "oauth2": introspection,
}
