"""Redaction of what must not leave the process: the values of secrets, and file paths."""

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any
from urllib.parse import quote, quote_plus

MIN_LENGTH = 4  # characters; masking shorter secrets would leave no text readable
MIN_LENGTH_WITHIN_WORDS = 8  # shorter ones occur by chance, as parts of words
# Of the secrets that are added later. Masking 64 KiB takes up to 0.5 s with 1,000 of them, 0.05 s with 100.
MAX_ADDED = 100
MAX_ADDED_CHARACTERS = 4096
MASK = "***"
# What may stand before a word without being a part of it: an escape of Python or JSON, or of a URL.
_ESCAPES = (r"\\[abfnrtv]", r"\\x[0-9a-f]{2}", r"\\u[0-9a-fA-F]{4}", r"%[0-9a-fA-F]{2}")
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
        secrets: The values to mask. Those shorter than `MIN_LENGTH` are ignored; those shorter than
            `MIN_LENGTH_WITHIN_WORDS` are masked only as whole words.

    Attributes:
        longest: The length of the longest text that is masked, 0 if there is none.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        patterns: dict[str, str] = {}
        self._given = list(secrets)
        self._added: list[str] = []
        for secret in sorted(self._given, key=effective_length):
            if effective_length(secret) >= MIN_LENGTH:
                # Agents often remove the line break with which a secret from a file ends.
                patterns |= _patterns(secret) | _patterns(secret.strip())
        longest_first = sorted(patterns, key=len, reverse=True)
        self.longest = max(map(len, patterns), default=0)
        self._secrets = re.compile("|".join(map(patterns.__getitem__, longest_first))) if patterns else None

    def masking_also(self, secrets: Iterable[str]) -> "Redactor":
        """Return a redactor that masks more, this one unchanged.

        Of all secrets that are added so, it masks the newest `MAX_ADDED`, as far as they have at most
        `MAX_ADDED_CHARACTERS` together.
        """
        masked = (each for each in secrets if effective_length(each) >= MIN_LENGTH)
        fitting = (each for each in masked if len(each) <= MAX_ADDED_CHARACTERS)
        candidates = [*self._added, *fitting][-MAX_ADDED:]
        sizes = accumulate(map(len, reversed(candidates)))  # of each and all newer ones
        kept = sum(size <= MAX_ADDED_CHARACTERS for size in sizes)
        added = candidates[len(candidates) - kept :]
        given = self._given[: len(self._given) - len(self._added)]
        redactor = Redactor([*given, *added])
        redactor._added = added
        return redactor

    def mask(self, text: str) -> str:
        """Return text with every secret masked."""
        if not text.isascii():
            text = _escape_surrogates(text)
        return self._secrets.sub(MASK, text) if self._secrets else text

    def masks(self, text: str) -> bool:
        """Return whether there is a secret in a text."""
        return self._secrets is not None and self._secrets.search(text) is not None

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


def effective_length(secret: str) -> int:
    """Return a secret's length in characters, without surrounding white space."""
    return len(secret.strip())


def _patterns(secret: str) -> dict[str, str]:
    """Return a regular expression for each form of a secret."""
    forms = {form: re.escape(form) for form in _encoded_forms(secret)}
    if effective_length(secret) >= MIN_LENGTH_WITHIN_WORDS:
        return forms
    # A pattern that begins with the text itself is found fast, so what stands before it is checked last.
    starts_a_word, ends_a_word = (re.match(r"\w", each) is not None for each in (secret[0], secret[-1]))
    after = r"(?!\w)" if ends_a_word else ""
    return {
        form: text + after + (_not_within_a_word(text) if starts_a_word else "")
        for form, text in forms.items()
    }


def _not_within_a_word(text: str) -> str:
    """Return a regular expression that matches behind a text before which no word continues."""
    return f"(?:(?<!\\w{text})|{'|'.join(f'(?<={escape}{text})' for escape in _ESCAPES)})"


def _escape_surrogates(text: str) -> str:
    """Escape lone surrogates, which cannot be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encoded_forms(secret: str) -> set[str]:
    """Return the forms a secret takes in plain text, `repr`, JSON, URLs and HTML forms."""
    secret = _escape_surrogates(secret)
    in_json = (json.dumps(secret, ensure_ascii=escaped)[1:-1] for escaped in (True, False))
    in_urls = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    return {secret, repr(secret)[1:-1], *in_json, *in_urls}
