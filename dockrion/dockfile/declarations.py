"""The words that the Dockfile's structs are declared in."""

from typing import Annotated

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True):
    """A mapping of the Dockfile with known fields."""


def about(description: str) -> Meta:
    """Say what a field is for."""
    return Meta(description=description)


def form(pattern: str, words: str) -> Meta:
    """Limit a string to a form.

    Args:
        pattern: What the whole string must match, ASCII only.
        words: The form as messages put it, after "expected".
    """
    ascii_only = pattern.replace(r"\w", "[A-Za-z0-9_]")
    # `$` alone would let a trailing newline pass.
    return Meta(pattern=rf"^(?:{ascii_only})$(?!\n)", extra={"form": words})


Text = Annotated[str, Meta(min_length=1)]
Variable = Annotated[str, form(r"[A-Za-z_]\w*", "the name of an environment variable")]
