"""Redaction of what must not leave the process: the values of secrets, and file paths."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

_MASK = "***"
_PATHS = re.compile(
    r"""
      (?P<quote>['"])~?/[^'"\n]*(?P=quote)                    # '/quoted path'
    | (?P<wquote>['"])[A-Za-z]:\\[^'"\n]*(?P=wquote)
    | \bfile:/[^\s'"<>]*
    | (?<![\w/.~-])(?<!:/)~?/(?!/)[\w.@+%~-]+(?:/[\w.@+%~-]+)*/?  # /bare/path, but not in a URL, nor and/or
    | \b[A-Za-z]:[\\/](?!/)[^\s'"<>|]+                         # C:\bare\path
    """,
    re.VERBOSE,
)


class Redactor:
    """Masks secrets in text and JSON values.

    Args:
        secrets: The values to mask. Empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _encoded_forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        """Return text with every secret masked."""
        text = _escape_surrogates(text)
        return self._secrets.sub(_MASK, text) if self._secrets else text

    def sanitize(self, text: str) -> str:
        """Return text that is safe to send to callers: secrets masked, file paths replaced."""
        return _PATHS.sub("<path>", self.mask(text))

    def mask_value(self, value: Any) -> Any:
        """Return a JSON value with every secret in it masked."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {self.mask(str(key)): self.mask_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_value(item) for item in value]
        return value


def _escape_surrogates(text: str) -> str:
    """Escape lone surrogates, which cannot be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encoded_forms(secret: str) -> set[str]:
    """Return the forms a secret takes in plain text, `repr`, JSON, URLs and HTML forms."""
    secret = _escape_surrogates(secret)
    in_json = (json.dumps(secret, ensure_ascii=escaped)[1:-1] for escaped in (True, False))
    in_urls = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    return {secret, repr(secret)[1:-1], *in_json, *in_urls}
