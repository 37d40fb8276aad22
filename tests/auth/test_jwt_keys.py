"""Which keys verify which algorithms."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth.jwt_keys import load_key, parse_jwks
from tests.auth.issuers import SigningKey, signing_key

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512"]
PEM = serialization.Encoding.PEM


def public(key: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(PEM, kind).decode())


def private(key: Any) -> str:
    kind = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(PEM, kind, serialization.NoEncryption()).decode())


SMALL = SigningKey("RS256", "small", bits=1024)
NO_KEYS = {
    "nothing": "",
    "a few characters": "secret",
    "a private key": private(signing_key().private),
    "a private key on a curve": private(signing_key("ES256").private),
    "a small key": SMALL.pem,
    "another curve": public(ec.generate_private_key(ec.SECP256K1())),
    "another kind": public(ed25519.Ed25519PrivateKey.generate()),
    "half a key": signing_key().pem[:200],
    "no characters of a key": "-----BEGIN PUBLIC KEY-----\n\ud800\n-----END PUBLIC KEY-----",
}


@pytest.mark.parametrize("name", NO_KEYS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_unsuitable_key_is_rejected(algorithm: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^no key for {algorithm}: expected .* (bytes|bits|curve) ?"):
        load_key(algorithm, NO_KEYS[name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("made_for", ["RS256", "ES256", "ES384", "ES512"])
def test_public_key_is_accepted_for_its_own_type_only(algorithm: str, made_for: str) -> None:
    pem = signing_key(made_for).pem
    for text in (pem, pem.replace("\n", "\\n"), f"\n{pem}\n"):
        if algorithm == made_for or (algorithm[:2] == "RS" == made_for[:2]):
            assert load_key(algorithm, text)
        else:
            with pytest.raises(ValueError, match=f"no key for {algorithm}"):
                load_key(algorithm, text)


@pytest.mark.parametrize(("algorithm", "length"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_secret_must_be_as_long_as_its_hash(algorithm: str, length: int) -> None:
    assert load_key(algorithm, "x" * length) == b"x" * length
    with pytest.raises(ValueError, match=f"{length} bytes"):
        load_key(algorithm, "x" * (length - 1))


@pytest.mark.parametrize("name", ["ssh", "jwk"])
def test_public_key_in_another_format_is_not_a_secret(name: str) -> None:
    encoding, kind = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ssh = signing_key().private.public_key().public_bytes(encoding, kind).decode()
    text = ssh if name == "ssh" else str(signing_key().published).replace("'", '"')
    with pytest.raises(ValueError, match="not a public key"):
        load_key("HS256", text)


def algorithms(*described: Any) -> list[str]:
    return [key.algorithm for key in parse_jwks(list(described))]


def test_published_keys_have_their_algorithm() -> None:
    first, second = signing_key(), signing_key("ES384", "second")
    keys = parse_jwks([first.published, second.published])
    assert [(key.key_id, key.algorithm) for key in keys] == [("first", "RS256"), ("second", "ES384")]


def without(key: SigningKey, *names: str, **more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**key.published, **more}.items() if name not in names}


def test_published_keys_without_algorithm_verify_all_of_their_type() -> None:
    assert algorithms(without(signing_key(), "alg", "use", "kid")) == ["RS256", "RS384", "RS512"]
    assert algorithms(without(signing_key("ES512"), "alg")) == ["ES512"]


SECRET = base64.urlsafe_b64encode(b"x" * 64).decode()


@pytest.mark.parametrize(
    "described",
    [
        {"kty": "oct", "k": SECRET},
        {"kty": "oct", "k": SECRET, "alg": "HS256"},
        {"kty": "oct", "k": SECRET, "alg": "RS256"},
        without(signing_key(), alg="HS256"),
        without(signing_key(), alg="ES256"),
        without(signing_key(), alg="none"),
        without(signing_key(), alg=["RS256"]),
        without(signing_key("ES256"), alg="ES384"),
        without(signing_key("ES256"), alg="RS256"),
        without(signing_key(), use="enc"),
        without(signing_key(), "kty"),
        without(signing_key(), "n"),
        without(signing_key(), n=5),
        without(signing_key(), n="!"),
        without(signing_key(), e="AQ"),
        SMALL.published,
        {},
        [],
        None,
        "key",
    ],
    ids=range(20),
)
def test_published_keys_that_cannot_verify_are_ignored(described: Any) -> None:
    assert algorithms(described, signing_key().published) == ["RS256"]


@pytest.mark.parametrize("listed", [None, {}, "keys", 5, {"keys": []}])
def test_malformed_key_set_has_no_keys(listed: Any) -> None:
    assert parse_jwks(listed) == []


def test_number_of_parsed_keys_is_limited() -> None:
    assert len(algorithms(*[signing_key().published] * 500)) == 64


JSON: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())
NAMES = ["kty", "n", "e", "d", "alg", "use", "kid", "crv", "x", "y", "k"]
KINDS = st.sampled_from(["RSA", "EC", "OKP", "oct"])


@given(st.dictionaries(st.sampled_from(NAMES), JSON), KINDS, st.sampled_from(["RS256", "ES256"]))
def test_any_entry_is_parsed_or_ignored(more: dict[str, Any], kind: str, algorithm: str) -> None:
    for described in ({**more, "kty": kind}, {**signing_key(algorithm).published, **more}):
        assert all(key.algorithm[:2] in ("RS", "ES") for key in parse_jwks([described]))
