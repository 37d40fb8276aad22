"""Arguments that clients have to send as headers, too, so that proxies can route calls by them.

Source: the specification of 2026-07-28, "Custom Headers from Tool Parameters".
"""

import re
from collections.abc import Iterator
from typing import Any

from dockrion.protocols.json_rpc import RpcError
from dockrion.protocols.mcp.envelope import HEADER_MISMATCH, Headers, decoded

_KEYWORD, _PREFIX = "x-mcp-header", "Mcp-Param-"
_TYPES = ("string", "integer", "boolean")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, 5.6.2
_INTEGER = re.compile(r"(-?[0-9]{1,32})(?:\.0{1,32})?")
_Path = tuple[str, ...]


def check_param_headers(schema: dict[str, Any], arguments: dict[str, Any], headers: Headers) -> None:
    """Refuse a call whose headers say something else than its arguments.

    Args:
        schema: The tool's input schema.
        arguments: The arguments.
        headers: Those of the HTTP request.

    Raises:
        RpcError: A header is missing, is there without its argument, or is not equal to it.
    """
    for path, name in _annotated(schema, ()):
        sent = headers(_PREFIX + name)
        if len(sent) > 1 or not _agrees(sent[0] if sent else None, _value_at(arguments, path)):
            message = f"the header {_PREFIX}{name} is not what the argument {'.'.join(path)} says"
            raise RpcError(HEADER_MISMATCH, message)


def _annotated(schema: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield the arguments of a schema that are headers, and the names of those."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    for key, part in properties.items():
        name = part.get(_KEYWORD) if isinstance(part, dict) else None
        if isinstance(name, str) and _TOKEN.fullmatch(name) and part.get("type") in _TYPES:
            yield (*path, key), name
        yield from _annotated(part, (*path, key))


def _value_at(arguments: Any, path: _Path) -> Any:
    for key in path:
        arguments = arguments.get(key) if isinstance(arguments, dict) else None
    return arguments


def _agrees(sent: str | None, value: Any) -> bool:
    """Return whether a header, None if there is none, is equal to an argument, None if there is none."""
    if not isinstance(value, str | int | float):  # what has no text is refused by the schema, if at all
        return sent is None
    if sent is None or not (sent.isascii() and sent.isprintable()):
        return False
    text = decoded(sent)
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, str):
        return text == value
    number = None if text is None else _INTEGER.fullmatch(text)
    return number is not None and int(number[1]) == value
