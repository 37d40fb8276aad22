"""Signatures of agents' functions."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature without evaluating its annotations.

    Raises:
        ValueError: The function, a builtin, has none.
    """
    if sys.version_info >= (3, 14):
        # Annotations are evaluated lazily there, and may contain names for type checkers only.
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)
