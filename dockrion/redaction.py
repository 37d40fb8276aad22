"""What must not leave the process: the values of secrets, and the paths of this machine."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

_MASK = "***"
_PATHS = re.compile(
    r"""
      (?P<quote>['"])~?/[^'"\n]*(?P=quote)                    # '/quoted, spaces and all'
    | (?P<wquote>['"])[A-Za-z]:\\[^'"\n]*(?P=wquote)
    | \bfile:/[^\s'"<>]*
    | (?<![\w/.~-])(?<!:/)~?/(?!/)[\w.@+%~-]+(?:/[\w.@+%~-]+)*/?  # /bare/path, not a URL's, not and/or
    | \b[A-Za-z]:[\\/](?!/)[^\s'"<>|]+                         # C:\bare\path
    """,
    re.VERBOSE,
)


class Redactor:
    """Masks secrets wherever text leaves the service.

    Args:
        secrets: The values to mask. Empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        """Return the text with every secret masked."""
        text = _unicode(text)
        return self._secrets.sub(_MASK, text) if self._secrets else text

    def sanitize(self, text: str) -> str:
        """Return the text fit for a caller: secrets masked, file paths left out."""
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


def _unicode(text: str) -> str:
    """Return text whose surrogates, which have no UTF-8 form, are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _forms(secret: str) -> set[str]:
    """Return a secret as it stands in plain text, in a repr, in JSON, in a URL and in a form."""
    secret = _unicode(secret)
    in_json = (json.dumps(secret, ensure_ascii=escaped)[1:-1] for escaped in (True, False))
    in_urls = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    return {secret, repr(secret)[1:-1], *in_json, *in_urls}
