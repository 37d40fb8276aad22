"""From the Dockfile and its credentials to an authenticator."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.auth.api_keys import ApiKeyAuthenticator
from dockrion.auth.factory import create_authenticator
from dockrion.auth.introspection import IntrospectionAuthenticator
from dockrion.auth.jwt_tokens import JwtAuthenticator
from dockrion.cli import main
from dockrion.dockfile import Credentials
from dockrion.dockfile.auth_structs import AuthSpec, JwtSpec, OAuth2Spec, Permission, RoleSpec
from dockrion.errors import StartError
from tests.auth.issuers import issue_token, signing_key
from tests.e2e.process import environment, write_dockfile

NONE = Credentials()
URL = "https://issuer.test/"
OAUTH2 = AuthSpec(mode="oauth2", oauth2=OAuth2Spec(introspection_url=URL))


@pytest.mark.parametrize("auth", [None, AuthSpec(mode="none")])
def test_no_authenticator_without_a_mode(auth: AuthSpec | None) -> None:
    assert create_authenticator(auth, Credentials(api_keys=[("a", "key")])) is None


@pytest.mark.parametrize(
    ("auth", "credentials", "kind"),
    [
        (AuthSpec(), Credentials(api_keys=[("a", "key")]), ApiKeyAuthenticator),
        (AuthSpec(mode="jwt", jwt=JwtSpec(jwks_url=URL)), NONE, JwtAuthenticator),
        (AuthSpec(mode="jwt"), Credentials(public_key=signing_key().pem), JwtAuthenticator),
        (OAUTH2, NONE, IntrospectionAuthenticator),
        (OAUTH2, Credentials(client=("id", "secret")), IntrospectionAuthenticator),
    ],
)
async def test_each_mode_has_its_authenticator(auth: AuthSpec, credentials: Credentials, kind: type) -> None:
    opened = create_authenticator(auth, credentials)
    assert opened is not None
    assert type(opened) is kind
    await opened.aclose()


async def test_configured_key_is_used() -> None:
    opened = create_authenticator(AuthSpec(mode="jwt"), Credentials(public_key=signing_key().pem))
    assert opened is not None
    assert (await opened.authenticate(issue_token(aud=None))).user_id == "user-1"


def roles(**permissions: list[Permission]) -> list[RoleSpec]:
    return [RoleSpec(name=name, permissions=granted) for name, granted in permissions.items()]


@pytest.mark.parametrize(
    ("names", "granted"),
    [
        (["default"], roles(default=[])),
        (["default"], roles(default=["read_docs", "read_logs", "deploy"])),
        (["default"], roles(default=["view_metrics"], admin=["invoke"])),
        (["alice"], roles(Alice=["invoke"])),
        (["alice", "bob"], roles(alice=["read_docs"], default=["invoke"])),
    ],
)
def test_service_that_no_key_could_use_is_refused(names: list[str], granted: list[RoleSpec]) -> None:
    credentials = Credentials(api_keys=[(name, f"key of {name}") for name in names])
    with pytest.raises(StartError) as caught:
        create_authenticator(AuthSpec(roles=granted), credentials)
    assert str(caught.value).startswith("auth.roles: no API key has the permission invoke")
    assert str(caught.value).endswith(f"named like one of the keys: {', '.join(names)}")


@pytest.mark.parametrize(
    ("names", "granted"),
    [
        (["default"], roles()),
        (["default"], roles(admin=["invoke"])),
        (["default", "alice"], roles(alice=["read_docs"])),
        (["alice", "bob"], roles(bob=["invoke"])),
    ],
)
async def test_service_that_one_key_can_use_is_served(names: list[str], granted: list[RoleSpec]) -> None:
    credentials = Credentials(api_keys=[(name, f"key of {name}") for name in names])
    assert create_authenticator(AuthSpec(roles=granted), credentials) is not None


@pytest.mark.parametrize("auth", [AuthSpec(mode="jwt", jwt=JwtSpec(jwks_url=URL)), OAUTH2])
async def test_tokens_that_grant_permissions_themselves_need_no_role(auth: AuthSpec) -> None:
    opened = create_authenticator(msgspec.structs.replace(auth, roles=roles(a=["read_docs"])), NONE)
    assert opened is not None
    await opened.aclose()


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\x1f", "\x7f"])
def test_key_that_no_header_can_carry_is_refused(character: str) -> None:
    credentials = Credentials(api_keys=[("a", "usable"), ("b", f"one{character}two")])
    with pytest.raises(StartError, match=r"^auth.api_keys: a key of b contains a line break") as caught:
        create_authenticator(AuthSpec(), credentials)
    assert "two" not in str(caught.value)


HS: Any = ["HS256", "HS512"]
NO_KEYS = {
    "text": (JwtSpec(public_key_env="KEY"), "hunter2", "no key for RS256: expected an RSA public key in PEM"),
    "curve": (
        JwtSpec(public_key_env="KEY", algorithms=["ES256", "ES384"]),
        signing_key("ES256").pem,
        "no key for ES384: expected a public key in PEM, on the curve secp384r1",
    ),
    "public": (
        JwtSpec(public_key_env="KEY", algorithms=HS),
        signing_key().pem,
        "no key for HS256: expected a secret of at least 32 bytes that is not a public key",
    ),
    "short": (
        JwtSpec(public_key_env="KEY", algorithms=HS),
        "x" * 32,
        "no key for HS512: expected a secret of at least 64 bytes that is not a public key",
    ),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_error_for_an_unusable_key_names_its_variable(name: str) -> None:
    spec, key, said = NO_KEYS[name]
    with pytest.raises(StartError) as caught:
        create_authenticator(AuthSpec(mode="jwt", jwt=spec), Credentials(public_key=key))
    assert str(caught.value).startswith(f"auth.jwt.public_key_env: KEY holds {said}")
    assert key not in str(caught.value)


def test_error_for_a_shared_key_does_not_show_it() -> None:
    with pytest.raises(StartError) as caught:
        create_authenticator(AuthSpec(), Credentials(api_keys=[("ann", "hunter2"), ("bob", "hunter2")]))
    assert str(caught.value) == "auth.api_keys: ann and bob have the same key; give each its own"


def test_missing_credentials_prevent_the_start() -> None:
    with pytest.raises(StartError, match=r"^one\ntwo$"):
        create_authenticator(AuthSpec(), Credentials(missing=["one", "two"]))


def test_validate_reports_the_keys_that_run_would_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("K_ANN", "K_BOB"):
        monkeypatch.setenv(name, "first of both, second of both")
    write_dockfile(
        tmp_path, "def handle(payload):\n    return payload\n", auth={"api_keys": {"prefix": "K_"}}
    )
    assert main(["validate"]) == 1
    said = capsys.readouterr().err
    assert said.endswith(" auth.api_keys: ann and bob have the same key; give each its own\n")
    assert "of both" not in said


LOADED = """
import sys
from dockrion.auth.factory import create_authenticator
from dockrion.dockfile import Credentials
from dockrion.dockfile.auth_structs import AuthSpec
import dockrion.cli
create_authenticator(None, Credentials())
create_authenticator(AuthSpec(), Credentials(api_keys=[("a", "key")]))
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"jwt", "cryptography"}))
"""


def test_cryptography_is_imported_for_jwt_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
