"""Results of MCP's methods: of a call of the tool, and what all have in common."""

from typing import Any

import msgspec

from dockrion.errors import DockrionError, InvalidRequest

_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_LIFETIME_MS = 60_000
_encode = msgspec.json.encode


class ServerInfo(msgspec.Struct, frozen=True):
    """How the service introduces itself.

    Attributes:
        name: The agent's name.
        version: The agent's version, or this service's.
    """

    name: str
    version: str


class ResultForm(msgspec.Struct, frozen=True):
    """What results have besides their own fields.

    Attributes:
        server: What every result tells since 2026-07-28; None in earlier versions.
    """

    server: ServerInfo | None = None

    @property
    def handshake(self) -> bool:
        """Whether it is that of versions with `initialize`."""
        return self.server is None

    def result(self, fields: dict[str, Any], result_type: str = "complete") -> dict[str, Any]:
        """Return a result with these fields."""
        if self.server is None:
            return fields
        return {"resultType": result_type, "_meta": {_SERVER_INFO: self.server}, **fields}

    def cached(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a result that clients may keep for their user, for a while."""
        lifetime = {"ttlMs": _LIFETIME_MS, "cacheScope": "private"}
        return self.result(fields if self.server is None else lifetime | fields)

    def text(self, text: bytes, *, is_error: bool = False) -> dict[str, Any]:
        """Return the result of a call that is a text.

        Args:
            text: The text, as JSON.
            is_error: Whether it says why the call failed.
        """
        return self.result({"content": [_text_content(text)], "isError": is_error})

    def failure(self, message: str) -> dict[str, Any]:
        """Return the result of a call that failed, which the model gets to read."""
        return self.text(_encode(message), is_error=True)

    def structured(self, output: bytes) -> dict[str, Any]:
        """Return the result of a call whose tool has an output schema.

        Args:
            output: The agent's output, as JSON.
        """
        content = [_text_content(_encode(output.decode()))]
        fields = {"content": content, "structuredContent": msgspec.Raw(output), "isError": False}
        return self.result(fields)


def refusal_text(error: DockrionError, head: str) -> str:
    """Return what a model or a person reads whose arguments or answer were refused.

    Args:
        error: Why.
        head: What precedes a list of violations.
    """
    details = msgspec.to_builtins(error.details)
    violations = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    if not violations or error.code != InvalidRequest.code:
        return error.message
    lines = [f"{each.get('path')}: {each.get('message')}" for each in violations]
    return "\n".join([head, *lines])


def _text_content(text: bytes) -> dict[str, Any]:
    return {"type": "text", "text": msgspec.Raw(text)}
