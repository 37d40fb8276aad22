"""Which tokens are accepted, with a configured key."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import msgspec
import pytest

from dockrion.auth.authenticator import ALL_PERMISSIONS, Roles
from dockrion.auth.jwt_tokens import JwtAuthenticator
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec, JwtSpec
from tests.auth.issuers import AUDIENCE, ISSUER, issue_token, signing_key
from tests.auth.refusals import refusal

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
SECRET = "a secret that is as long as its hash is: 64 bytes, for HS512, at least"
ROLES = Roles([])
STRICT = JwtSpec(issuer=ISSUER, audience=AUDIENCE, leeway_seconds=10)


def tokens(spec: JwtSpec = STRICT, key: str | None = None) -> JwtAuthenticator:
    return JwtAuthenticator(spec, key or signing_key().pem, ROLES)


async def test_valid_token_authenticates_its_owner() -> None:
    end = int(time.time()) + 100
    token = issue_token(exp=end, name="Ann", roles=["ops"], scope="read", org={"id": "t"})
    spec = JwtSpec(issuer=ISSUER, audience=AUDIENCE, claims=ClaimsSpec(tenant_id="org.id"))
    assert await tokens(spec).authenticate(token) == Caller(
        user_id="user-1",
        name="Ann",
        roles=("ops",),
        scopes=("read",),
        permissions=ALL_PERMISSIONS,
        tenant_id="t",
        expires_at=end + 30,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_accepts_its_key_only(algorithm: Any) -> None:
    key = signing_key(algorithm)
    authenticator = tokens(JwtSpec(algorithms=[algorithm]), key.pem)
    assert (await authenticator.authenticate(issue_token(signed_by=key))).user_id == "user-1"
    for other in (signing_key(algorithm, "other"), signing_key("RS256" if algorithm != "RS256" else "ES256")):
        await refusal(authenticator, issue_token(signed_by=other))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_shared_secret(algorithm: Any) -> None:
    authenticator = tokens(JwtSpec(algorithms=[algorithm]), SECRET)
    token = issue_token(signed_by=SECRET, headers={"alg": algorithm})
    assert (await authenticator.authenticate(token)).user_id == "user-1"
    await refusal(authenticator, issue_token(signed_by=SECRET + "x", headers={"alg": algorithm}))


async def test_key_with_escaped_newlines() -> None:
    authenticator = tokens(key=signing_key().pem.replace("\n", "\\n"))
    assert (await authenticator.authenticate(issue_token())).user_id == "user-1"


async def test_secret_is_used_unchanged() -> None:
    secret = SECRET + "\\n"
    authenticator = tokens(JwtSpec(algorithms=["HS256"]), secret)
    assert (await authenticator.authenticate(issue_token(signed_by=secret))).user_id == "user-1"


NOW = int(time.time())
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - 11},
    "no expiry": {"exp": None},
    "expiry as text": {"exp": str(NOW + 10_000)},
    "expiry that is not a number": {"exp": float("nan")},
    "boolean expiry": {"exp": True},
    "not yet valid": {"nbf": NOW + 10_000},
    "malformed nbf": {"nbf": "soon"},
    "issued in the future": {"iat": NOW + 10_000},
    "another issuer": {"iss": "https://other"},
    "prefix of the issuer": {"iss": ISSUER[:-1]},
    "several issuers": {"iss": [ISSUER]},
    "no issuer": {"iss": None},
    "another audience": {"aud": "other"},
    "other audiences": {"aud": ["other", "another"]},
    "no audience": {"aud": None},
    "malformed audience": {"aud": {AUDIENCE: 1}},
    "no user id": {"sub": None},
    "empty user id": {"sub": ""},
}


@pytest.mark.parametrize("name", BAD_CLAIMS)
async def test_bad_claims_get_the_error_of_a_wrong_signature(name: str) -> None:
    authenticator = tokens()
    wrong = await refusal(authenticator, issue_token(signed_by=signing_key("RS256", "other")))
    assert await refusal(authenticator, issue_token(**BAD_CLAIMS[name])) == wrong


async def test_leeway_covers_clock_differences() -> None:
    now = int(time.time())
    authenticator = tokens(msgspec.structs.replace(STRICT, leeway_seconds=300))
    forgiven: list[dict[str, Any]] = [{"exp": now - 200}, {"nbf": now + 200, "iat": now + 200}]
    for claims in forgiven:
        assert (await authenticator.authenticate(issue_token(**claims))).user_id == "user-1"
        await refusal(tokens(), issue_token(**claims))


@pytest.mark.parametrize("claims", [{"aud": ["other", AUDIENCE]}, {"iat": None}, {"exp": NOW + 10_000.5}])
async def test_claims_in_all_valid_forms(claims: dict[str, Any]) -> None:
    assert (await tokens().authenticate(issue_token(**claims))).user_id == "user-1"


async def test_issuer_and_audience_are_checked_if_configured() -> None:
    authenticator = tokens(JwtSpec())
    for claims in ({"iss": "any", "aud": "any"}, {"iss": None, "aud": None}):
        assert (await authenticator.authenticate(issue_token(**claims))).user_id == "user-1"


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


CLAIMS = {"sub": "user-1", "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 10_000}


def forged(algorithm: str, key: bytes) -> str:
    """Return a token that is signed with a public key as the HMAC secret."""
    said = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(CLAIMS)}"
    return f"{said}.{part(hmac.digest(key, said.encode(), 'sha256'))}"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "RS384", "ES256", "PS256", "EdDSA"]
)
async def test_token_with_another_algorithm_is_refused(algorithm: str) -> None:
    authenticator = tokens()
    pem = signing_key().pem
    for key in (pem.encode(), pem.strip().encode(), b""):
        await refusal(authenticator, forged(algorithm, key))
    await refusal(authenticator, f"{part({'alg': algorithm})}.{part(CLAIMS)}.")
    good = issue_token().split(".")
    await refusal(authenticator, ".".join([part({"alg": algorithm, "typ": "JWT"}), *good[1:]]))


@pytest.mark.parametrize("algorithm", [None, 1, ["RS256"], {"RS256": 1}, True])
async def test_malformed_algorithm_is_refused(algorithm: Any) -> None:
    await refusal(tokens(), ".".join([part({"alg": algorithm}), *issue_token().split(".")[1:]]))


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "exp", None, 5])
async def test_critical_extensions_are_refused(crit: Any) -> None:
    key = signing_key()
    said = f"{part({'alg': 'RS256', 'crit': crit, 'exp': 1})}.{part(CLAIMS)}"
    signature = jwt.get_algorithm_by_name("RS256").sign(said.encode(), key.private)
    await refusal(tokens(), f"{said}.{part(signature)}")


@pytest.mark.parametrize("key_id", [5, ["first"], {"first": 1}, True])
async def test_malformed_key_id_is_refused(key_id: Any) -> None:
    key = signing_key()
    said = f"{part({'alg': 'RS256', 'kid': key_id})}.{part(CLAIMS)}"
    signature = jwt.get_algorithm_by_name("RS256").sign(said.encode(), key.private)
    await refusal(tokens(), f"{said}.{part(signature)}")


@pytest.mark.parametrize(
    "headers",
    [
        {"jwk": signing_key("RS256", "other").published},
        {"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert"},
    ],
    ids=["jwk", "jku"],
)
async def test_key_embedded_in_the_token_is_not_trusted(headers: dict[str, Any]) -> None:
    key = signing_key("RS256", "other")
    await refusal(tokens(), issue_token(signed_by=key, headers=headers))


async def test_long_token_is_refused_before_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = tokens()
    for length, is_read in ((15_000, True), (17_000, False)):
        token = issue_token(padding="x" * (length * 3 // 4 - 500))
        assert (len(token) < 16 * 1024) is is_read
        if is_read:
            await authenticator.authenticate(token)
    monkeypatch.setattr(jwt, "get_unverified_header", lambda _token: pytest.fail("it was read"))
    await refusal(authenticator, issue_token(padding="x" * 13_000))
