"""Messages to servers of A2A, in both versions of the protocol, and the requests that send them."""

from typing import Any, NamedTuple

import msgspec

from dockrion import ids
from dockrion.agents.servers.message_parts import media_of
from dockrion.errors import InvalidRequest

Version = str  # `1.0` or `0.3`


class _Methods(NamedTuple):
    """The methods of a version, by what they do."""

    stream: str
    send: str
    cancel: str
    subscribe: str
    get: str


_METHODS = {
    "1.0": _Methods("SendStreamingMessage", "SendMessage", "CancelTask", "SubscribeToTask", "GetTask"),
    "0.3": _Methods("message/stream", "message/send", "tasks/cancel", "tasks/resubscribe", "tasks/get"),
}
_MEDIA_TYPES = ["text/plain", "application/json"]


def first_request(payload: Any, field: str | None) -> bytes:
    """Return the request that begins a task, in version 1.0 and for a stream.

    Args:
        payload: The payload.
        field: `agent.chat.field`.

    Raises:
        InvalidRequest: The payload cannot be sent.
    """
    context_id = payload.get("contextId") if isinstance(payload, dict) else None
    named = {"contextId": context_id} if isinstance(context_id, str) else {}
    return _request(_parts(payload, field), named, "1.0", streams=True)


def answering_request(answer: Any, task: dict[str, str], version: Version, *, streams: bool) -> bytes:
    """Return the request that answers what a task asks.

    Args:
        answer: The answer.
        task: Its `taskId` and `contextId`.
        version: The version of the protocol.
        streams: Whether the response is a stream.
    """
    return _request([_value_part(answer)], task, version, streams=streams)


def cancelling_request(task_id: str, version: Version) -> bytes:
    """Return the request that cancels a task."""
    return _call(_METHODS[version].cancel, {"id": task_id})


def subscribing_request(task_id: str, version: Version) -> bytes:
    """Return the request that reads on in the stream of a task."""
    return _call(_METHODS[version].subscribe, {"id": task_id})


def getting_request(task_id: str, version: Version) -> bytes:
    """Return the request that gets a task as it is."""
    return _call(_METHODS[version].get, {"id": task_id})


def converted_request(body: bytes, version: Version, *, streams: bool) -> bytes:
    """Return a request of version 1.0 for a stream as a server takes it that has refused it.

    Args:
        body: The request.
        version: The version that the server speaks.
        streams: Whether it can respond with a stream.
    """
    message = msgspec.json.decode(body)["params"]["message"]
    named = {name: message[name] for name in ("taskId", "contextId") if name in message}
    return _request(message["parts"], named, version, streams=streams)


def _request(parts: list[Any], named: dict[str, str], version: Version, *, streams: bool) -> bytes:
    message: dict[str, Any] = {"messageId": ids.uuid7(), **named}
    configuration: dict[str, Any] = {"acceptedOutputModes": _MEDIA_TYPES}
    if version == "1.0":
        message |= {"role": "ROLE_USER", "parts": parts}
    else:
        message |= {"kind": "message", "role": "user", "parts": [_part_in_0_3(part) for part in parts]}
        configuration["blocking"] = True
    methods = _METHODS[version]
    return _call(
        methods.stream if streams else methods.send, {"message": message, "configuration": configuration}
    )


def _call(method: str, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def _parts(payload: Any, field: str | None) -> list[Any]:
    """Return what a payload says: its last message or its question, else all of it as data."""
    if isinstance(payload, dict):
        messages = payload.get("messages")
        if isinstance(messages, list) and messages:
            content = messages[-1].get("content") if isinstance(messages[-1], dict) else None
            if isinstance(content, str):
                return [{"text": content}]
            if isinstance(content, list) and content:
                return [_content_part(part, f"messages[{len(messages) - 1}].content") for part in content]
            raise InvalidRequest("messages: the last one must say something")
        if isinstance(question := payload.get(field), str):
            return [{"text": question}]
    return [_value_part(payload)]


def _value_part(value: Any) -> dict[str, Any]:
    return {"text": value} if isinstance(value, str) else {"data": value, "mediaType": "application/json"}


def _content_part(part: Any, path: str) -> dict[str, Any]:
    """Return a part of a message of OpenAI's Chat Completions API as one of A2A."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"text": part["text"]}
    media = media_of(part)
    if media is not None and media.data is not None:
        return {"raw": media.data, "mediaType": media.media_type}
    if media is not None and media.kind == "image_url":
        return {"url": media.url, "mediaType": "image/*"}
    raise InvalidRequest(
        f"{path}: a part of the type {kind!s:.100} cannot be sent to a server of A2A; send text, image_url, "
        "or input_audio and file with their data"
    )


def _part_in_0_3(part: dict[str, Any]) -> dict[str, Any]:
    if "text" in part:
        return {"kind": "text", "text": part["text"]}
    if "data" in part:
        if isinstance(part["data"], dict):
            return {"kind": "data", "data": part["data"]}
        # That version has objects only; this is how a2a-sdk writes other values.
        return {"kind": "data", "data": {"value": part["data"]}, "metadata": {"data_part_compat": True}}
    content = {"bytes": part["raw"]} if "raw" in part else {"uri": part["url"]}
    return {"kind": "file", "file": {**content, "mimeType": part["mediaType"]}}
