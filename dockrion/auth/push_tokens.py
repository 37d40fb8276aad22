"""Signed tokens that let an agent process push events into one run: a part of the URL that it is given.

A token is valid for one incarnation of a run, which it names, and as long as that accepts events.
"""

import hmac

_PURPOSE = b"push events"  # so that no other token signed with the service's key is one of these


def issue(key: bytes, run_id: str, incarnation: str) -> str:
    """Return a token for pushing events into a run; it consists of letters, digits and one dot.

    Args:
        key: The service's 32-byte key, the same on every replica.
        run_id: The run.
        incarnation: Its incarnation.
    """
    return f"{incarnation}.{_signature(key, run_id, incarnation)}"


def incarnation(key: bytes, run_id: str, token: str) -> str | None:
    """Return the incarnation of the run that a token is for; None if it is not valid for the run.

    Args:
        key: The service's key.
        run_id: The run.
        token: The token, as received.
    """
    named, _, signature = token.partition(".")
    valid = token.isascii() and hmac.compare_digest(signature, _signature(key, run_id, named))
    return named if valid else None


def _signature(key: bytes, run_id: str, incarnation: str) -> str:
    derived = hmac.digest(key, _PURPOSE, "sha256")
    return hmac.digest(derived, f"{run_id} {incarnation}".encode(), "sha256").hex()
