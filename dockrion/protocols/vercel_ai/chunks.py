"""Chunks of a UI message stream as frames: server-sent events of one line of JSON."""

import re
from collections.abc import Mapping, Sequence

import msgspec

START_STEP = b'data: {"type":"start-step"}\n\n'
FINISH_STEP = b'data: {"type":"finish-step"}\n\n'
DONE = b"data: [DONE]\n\n"
# The SDK refuses a chunk with such keys, for fear of their effects on JavaScript's objects.
_REFUSED_KEY = re.compile(rb'"(?:__proto__|constructor)":')
_encode = msgspec.json.encode


def json_text(text: str) -> bytes:
    """Return a text as JSON."""
    return _encode(text)


def safe_json(value: bytes) -> bytes:
    """Return JSON as a client takes it: itself, or, if the client would refuse it, a text with it."""
    return value if _REFUSED_KEY.search(value) is None else json_text(value.decode())


def chunk(kind: bytes, **fields: bytes) -> bytes:
    """Return a chunk of a type, with fields that are JSON already."""
    members = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in fields.items())
    return b'data: {"type":"%s"%s}\n\n' % (kind, members)


def deltas(kind: bytes, part_id: int, texts: Sequence[bytes]) -> bytes:
    """Return the chunks with pieces, JSON, of a part."""
    before = b'data: {"type":"%s-delta","id":"%d","delta":' % (kind, part_id)
    return b"%s%s}\n\n" % (before, (b"}\n\n" + before).join(texts))


def edge(kind: bytes, part_id: int, which: bytes) -> bytes:
    """Return the chunk that starts or ends a part of a text or of reasoning."""
    return b'data: {"type":"%s-%s","id":"%d"}\n\n' % (kind, which, part_id)


def data_part(name: bytes, data: Mapping[str, msgspec.Raw] | bytes, part_id: bytes | None = None) -> bytes:
    """Return a part with data of its own type.

    Args:
        name: The type, without the prefix `data-`; letters, digits, `_` and `-` alone.
        data: The data: an object's fields, or JSON.
        part_id: JSON of the id: a later part with the type and id replaces the data of an earlier one.
    """
    fields = {} if part_id is None else {"id": part_id}
    value = data if isinstance(data, bytes) else _encode(data)
    return chunk(b"data-" + name, **fields, data=safe_json(value))
