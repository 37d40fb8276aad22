"""Keys that verify signatures, each only for what it is made for (RFC 7518)."""

from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_ASYMMETRIC = ("RS256", "RS384", "RS512", *_CURVES)
_MOST_KEYS = 64


class PublicKey(msgspec.Struct, frozen=True):
    """A key of an issuer.

    Args:
        key_id: How tokens name it, or None.
        algorithm: What it verifies.
        key: The key.
    """

    key_id: str | None
    algorithm: str
    key: Any


def given_key(algorithm: str, text: str) -> Any:
    """Return the key that somebody has set.

    Args:
        algorithm: What it is to verify.
        text: A public key in PEM, its lines also separated by a backslash and an n; a secret for HS.

    Raises:
        ValueError: It is none; the message says what is expected.
    """
    is_pem = "-----BEGIN " in text
    if is_pem:
        text = text.replace("\\n", "\n")
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(text)
    except Exception:  # whatever a parser raises
        key = None
    # A public key as the shared secret would let everybody sign; also one that is cut.
    if not _fits(algorithm, key) or (is_pem and isinstance(key, bytes)):
        raise ValueError(f"no key for {algorithm}: expected {_expected(algorithm)}")
    return key


def published_keys(listed: object) -> list[PublicKey]:
    """Return the keys of a JSON Web Key Set that verify; others are left out (RFC 7517, 5).

    Args:
        listed: Its `keys`, whatever they are.
    """
    described = listed[:_MOST_KEYS] if isinstance(listed, list) else []
    return [
        PublicKey(each.get("kid"), algorithm, key)
        for each in described
        if isinstance(each, dict) and each.get("use", "sig") == "sig"
        for algorithm in _ASYMMETRIC  # a symmetric key in a public place protects nothing
        if each.get("alg", algorithm) == algorithm and (key := _published(each, algorithm)) is not None
    ]


def _published(described: dict[str, Any], algorithm: str) -> Any:
    try:
        key = jwt.PyJWK(described, algorithm=algorithm).key
    except Exception:  # as above
        return None
    return key if _fits(algorithm, key) else None


def _expected(algorithm: str) -> str:
    if algorithm.startswith("HS"):
        return f"a secret of at least {int(algorithm[2:]) // 8} bytes that is no public key"
    if algorithm in _CURVES:
        return f"a public key in PEM, on the curve {_CURVES[algorithm]}"
    return "an RSA public key in PEM, of at least 2048 bits"


def _fits(algorithm: str, key: Any) -> bool:
    """Tell whether a key is of the algorithm's kind, and long enough (RFC 7518, 3.2 to 3.4)."""
    if isinstance(key, EllipticCurvePublicKey):
        return key.curve.name == _CURVES.get(algorithm)
    kind = "RS" if isinstance(key, RSAPublicKey) else "HS" if isinstance(key, bytes) else None
    if kind != algorithm[:2]:
        return False
    return jwt.get_algorithm_by_name(algorithm).check_key_length(key) is None
