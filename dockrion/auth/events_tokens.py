"""Signed tokens that open one run's events, for browsers: `EventSource` cannot send headers."""

import hmac
import time

LIFETIME_SECONDS = 300


def issue(key: bytes, run_id: str) -> str:
    """Return a token for reading a run.

    Args:
        key: The service's 32-byte key, the same on every replica.
        run_id: The run.
    """
    expires_at = str(int(time.time()) + LIFETIME_SECONDS)
    return f"{expires_at}.{_signature(key, run_id, expires_at)}"


def expiry(key: bytes, run_id: str, token: str) -> float | None:
    """Return when a token expires, in seconds since the epoch; None if it is not valid for the run.

    Args:
        key: The service's key.
        run_id: The run.
        token: The token, as received.
    """
    expires_at, _, signature = token.partition(".")
    # The hexadecimal text is compared, not what it decodes to, so that each token has one spelling.
    if not token.isascii() or not hmac.compare_digest(signature, _signature(key, run_id, expires_at)):
        return None
    return float(expires_at) if float(expires_at) > time.time() else None


def _signature(key: bytes, run_id: str, expires_at: str) -> str:
    return hmac.digest(key, f"{expires_at}.{run_id}".encode(), "sha256").hex()
