"""Rules of `expose.protocols`, and of what is set for them elsewhere, see `rules`."""

import re
from typing import Any

from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.expose_structs import OpenAISpec
from dockrion.dockfile.problems import KeyPath
from dockrion.dockfile.structs import Dockfile
from dockrion.events import EventFilter

_PATH = re.compile(r"[^.]+(\.[^.]+)*")
_PROTOCOLS = ("expose", "protocols")
_CHAT = ("agent", "chat")
_CONVERSATIONS = frozenset({"openai", "ag-ui", "vercel-ai", "a2a"})  # whose clients send messages


def check_protocols(names: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check which protocols are served."""
    for index, name in enumerate(names):
        if name in names[:index]:
            diagnostics.error((*keys, index), f"{name} is listed twice")


def check_chat(chat: ChatSpec | str, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check how conversations become payloads, and outputs replies."""
    if isinstance(chat, ChatSpec) and chat.output is not None and not _PATH.fullmatch(chat.output):
        message = "expected names of fields and indexes of lists, separated by single dots"
        diagnostics.error((*keys, "output"), f"{message}, got {diagnostics.format_value(chat.output)}")


def warn_of_protocols(dockfile: Dockfile, diagnostics: Diagnostics) -> None:
    """Warn of what has no effect, of clients that are refused, and of replies that do not stream."""
    protocols = dockfile.expose.protocols
    if dockfile.openai != OpenAISpec() and "openai" not in protocols:
        diagnostics.warn(("openai",), "no effect without openai in expose.protocols")
    if not protocols:
        if dockfile.agent.chat != "messages" and not _sends_messages(dockfile):
            diagnostics.warn(_CHAT, "no effect without expose.protocols")
        return
    if "mcp" in protocols:
        _warn_of_tool(dockfile, diagnostics)
    if "a2a" in protocols and not dockfile.agent.description:
        message = "without it, the agent card does not tell other agents what this one does"
        diagnostics.warn(("agent", "description"), message)
    if _CONVERSATIONS.isdisjoint(protocols):
        return
    if (reason := unfit_payload(dockfile)) is not None:
        field = dockfile.agent.chat_spec.field
        keys: KeyPath = _PROTOCOLS if field is None else (*_CHAT, "field")
        hint = "" if field is not None else "; agent.chat can name a field for the last question"
        diagnostics.warn(keys, f"conversations become payloads with {reason}{hint}")
    auth = dockfile.auth
    if (
        "openai" in protocols
        and auth is not None
        and auth.mode == "api_key"
        and not auth.api_keys.allow_bearer
    ):
        message = "false refuses OpenAI's clients, which send their key as Authorization: Bearer"
        diagnostics.warn(("auth", "api_keys", "allow_bearer"), message)
    if not EventFilter(dockfile.streaming.events.allowed).allows("token"):
        message = "without token, clients of expose.protocols get each reply as a whole, at its end"
        diagnostics.warn(("streaming", "events", "allowed"), message)


def _warn_of_tool(dockfile: Dockfile, diagnostics: Diagnostics) -> None:
    """Warn if models cannot know what the tool that the agent is does, or what it takes."""
    if not dockfile.agent.description:
        message = "without it, clients of mcp do not tell their models what the tool does"
        diagnostics.warn(("agent", "description"), message)
    described = dockfile.agent.mode == "handler" or _sends_messages(dockfile)
    if dockfile.io_schema.input is None and not described:
        message = "without it, clients of mcp do not tell their models what the tool takes"
        diagnostics.warn(("io_schema", "input"), message)


def unfit_payload(dockfile: Dockfile) -> str | None:
    """Return what a conversation's payload has, and why `io_schema.input` does not let it through.

    Returns:
        `messages, and io_schema.input refuses it`, for example; None if it does let it through.
    """
    schema, field = dockfile.io_schema.input, dockfile.agent.chat_spec.field
    if schema is None:
        return None
    name, expected = ("messages", "array") if field is None else (field, "string")
    properties = schema.get("properties") or {}
    if not _may_be(schema.get("type", "object"), "object"):
        reason = f"expects {_types(schema['type'])}"
    elif name in properties:
        declared = _declared_type(properties[name])
        if _may_be(declared, expected):
            return None
        reason = f"expects {_types(declared)} there, not {_types(expected)}"
    elif schema.get("additionalProperties") is False:
        reason = "refuses it"
    elif properties:
        reason = "does not name it"
    else:
        return None
    return f"{name}, and io_schema.input {reason}"


def _sends_messages(dockfile: Dockfile) -> bool:
    """Return whether the agent is a server that is sent messages, which payloads therefore have."""
    return dockfile.agent.mode == "url" and dockfile.agent.protocol in ("openai", "ag-ui", "a2a")


def _declared_type(schema: Any) -> Any:
    return schema.get("type") if isinstance(schema, dict) else None


def _may_be(declared: Any, expected: str) -> bool:
    """Return whether a schema's `type` lets values of a type through; None lets any."""
    return declared is None or expected in (declared if isinstance(declared, list) else [declared])


def _types(declared: Any) -> str:
    names = declared if isinstance(declared, list) else [declared]
    return " or ".join(f"{'an' if name[0] in 'aio' else 'a'} {name}" for name in names)
