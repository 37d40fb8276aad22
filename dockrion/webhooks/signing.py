"""Signatures of webhooks (Standard Webhooks, "Signature scheme": symmetric signatures)."""

import base64
import binascii
import hmac

_PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64


class Secret:
    """A secret that a receiver shares.

    Args:
        text: `whsec_` and the base64 of 24 to 64 bytes.

    Raises:
        ValueError: The text is not such a secret; the message says what is expected.
    """

    def __init__(self, text: str) -> None:
        try:
            self._key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            self._key = b""
        if not text.startswith(_PREFIX) or not _MIN_BYTES <= len(self._key) <= _MAX_BYTES:
            raise ValueError(
                f"expected {_PREFIX} and the base64 of {_MIN_BYTES} to {_MAX_BYTES} random bytes"
            )

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return the `webhook-signature` of a message.

        Args:
            message_id: Its `webhook-id`.
            timestamp: Its `webhook-timestamp`, seconds since the epoch.
            body: Its body.
        """
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        return f"v1,{base64.b64encode(hmac.digest(self._key, signed, 'sha256')).decode()}"
