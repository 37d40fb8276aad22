"""What the signatures of the agent's callables declare: where the context goes, and types.

Annotations are the agent's code, and may contain names for type checkers only. Each is evaluated by
itself, so that one that cannot be evaluated costs nothing but itself.
"""

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib

from dockrion.runs.context import StreamContext
from dockrion.signatures import signature_of

RETURN = "return"  # the name of a return annotation in a mapping of annotations


class Annotations(typing.NamedTuple):
    """The annotations of a callable, by parameter and `RETURN`.

    Attributes:
        known: Those that can be evaluated, as types.
        broken: Why the others cannot be.
    """

    known: dict[str, Any]
    broken: dict[str, Exception]

    def get(self, name: str, default: Any) -> Any:
        """Return an annotation, or the default if there is none.

        Raises:
            Exception: It cannot be evaluated.
        """
        if name in self.broken:
            raise self.broken[name]
        return self.known.get(name, default)


def annotations_of(function: Callable[..., Any]) -> Annotations:
    """Evaluate the annotations of a callable."""
    function = _defined(function)
    with suppress(Exception):  # it runs the agent's code; what can be evaluated is found below
        return Annotations(typing.get_type_hints(function, include_extras=True), {})
    known, broken = {}, {}
    for name, annotation in _unevaluated(function).items():
        try:
            known[name] = _evaluate(function, annotation)
        except Exception as error:  # as above
            broken[name] = error
    return Annotations(known, broken)


def payload_parameter(function: Callable[..., Any], known: dict[str, Any]) -> inspect.Parameter | None:
    """Return the parameter that receives the payload.

    Args:
        function: The callable.
        known: Its evaluated annotations.

    Returns:
        The parameter; None if it has no name, as in `*arguments`.
    """
    try:
        parameters = list(signature_of(function).parameters.values())
    except ValueError:  # some builtins have none
        return None
    if parameters and _takes_context(parameters[0], known):
        del parameters[0]
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return None
    return parameters[0]


def with_context(function: Callable[..., Any]) -> Callable[[Any, StreamContext], Any]:
    """Return the function with the signature (payload, context), whether or not it takes the context.

    Raises:
        TypeError: The function cannot be called with a payload and, where it takes one, a context.
    """
    try:
        signature = signature_of(function)
    except ValueError:  # some builtins have none
        return lambda payload, _context: function(payload)
    known = annotations_of(function).known
    for position, parameter in enumerate(signature.parameters.values()):
        if _takes_context(parameter, known):
            return _passing_context(function, signature, parameter, position)
    signature.bind(None)
    return lambda payload, _context: function(payload)


def _passing_context(
    function: Callable[..., Any], signature: inspect.Signature, parameter: inspect.Parameter, position: int
) -> Callable[[Any, StreamContext], Any]:
    if position <= 1 and parameter.kind != parameter.KEYWORD_ONLY:
        signature.bind(None, None)
        return function if position == 1 else lambda payload, context: function(context, payload)
    if parameter.kind == parameter.POSITIONAL_ONLY:
        raise TypeError(f"{parameter.name!r} is neither its first nor its second argument")
    name = parameter.name
    signature.bind(None, **{name: None})
    return lambda payload, context: function(payload, **{name: context})


def _takes_context(parameter: inspect.Parameter, known: dict[str, Any]) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    annotation = known.get(parameter.name, parameter.annotation)
    return parameter.name == "context" or _is_context_type(annotation)


def _is_context_type(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return StreamContext.__name__ in annotation
    return annotation is StreamContext or any(map(_is_context_type, typing.get_args(annotation)))


def _defined(function: Any) -> Any:
    """Return the function that has a callable's annotations, as `inspect.signature` finds its parameters."""
    if isinstance(function, type):
        return function.__init__  # type: ignore[misc]
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = inspect.unwrap(function)
        elif not inspect.isroutine(function) and inspect.isroutine(getattr(function, "__call__", None)):  # noqa: B004
            function = function.__call__
        else:
            return function


def _unevaluated(function: Callable[..., Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})


def _evaluate(function: Callable[..., Any], annotation: Any) -> Any:
    only = types.SimpleNamespace(
        __annotations__={RETURN: annotation}, __type_params__=getattr(function, "__type_params__", ())
    )
    namespace = getattr(function, "__globals__", {})
    return typing.get_type_hints(only, namespace, include_extras=True)[RETURN]
