"""The parameters of MCP's requests, as far as they are used."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_MAX_TOKEN = 256  # characters: each notification repeats it
_MAX_STATE = 256
_ProgressToken = Annotated[str, Meta(max_length=_MAX_TOKEN)] | int | None


class RequestMeta(msgspec.Struct, rename="camel"):
    progress_token: _ProgressToken = None


class InputResponse(msgspec.Struct):
    """What a person did with a form: fill it in, decline to, or close it."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class CallParams(msgspec.Struct, rename="camel"):
    """The parameters of `tools/call`.

    Attributes:
        name: The tool.
        arguments: Its arguments.
        request_state: Where the call goes on; None for a new call.
        input_responses: The answers to what was asked before, by the question's id.
        meta: What concerns the protocol.
    """

    name: str
    arguments: dict[str, Any] | None = None
    request_state: Annotated[str, Meta(max_length=_MAX_STATE)] | None = None
    input_responses: Annotated[dict[str, InputResponse], Meta(max_length=1)] | None = None
    meta: RequestMeta | None = msgspec.field(name="_meta", default=None)


class ListParams(msgspec.Struct):
    """The parameters of `tools/list`.

    Attributes:
        cursor: Where the list goes on; there is only one page.
    """

    cursor: None = None


class InitializeParams(msgspec.Struct, rename="camel"):
    """The parameters of `initialize`.

    Attributes:
        protocol_version: The version that the client would like to speak.
        capabilities: What it can do.
    """

    protocol_version: str
    capabilities: Any = None
