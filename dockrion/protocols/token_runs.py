"""Reading consecutive tokens of one message from their JSON, without decoding what only has to be copied.

The time that a protocol takes is mostly that of its tokens. In an event that `events.encode` has written, the
content stands between the common fields, in which nobody can write a quote, and the fields that are the same
for all tokens of a message, so that comparing bytes finds it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
from msgspec import UNSET, UnsetType

from dockrion.events import Entry

EMPTY_TEXT = b'""'  # the content of a token without text
_CONTENT = b',"content":'
_REMEMBERED, _REMEMBERED_BYTES = 256, 256
_FIELDS = b',"finish_reason":'  # outside of a string, since there every quote is escaped


class Origin(msgspec.Struct, frozen=True):
    """What the tokens of a run have in common.

    Attributes:
        finish_reason: Why the message ends with them.
        message_id: The message, None if it has no id.
        source: Who speaks.
    """

    finish_reason: str | None = None
    message_id: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET


TokenRun = tuple[list[bytes], Origin]


class _Token(Origin, frozen=True, kw_only=True):
    content: msgspec.Raw


_token_decoder = msgspec.json.Decoder(_Token)
_origin_decoder = msgspec.json.Decoder(Origin)


def only_tokens(entries: Sequence[Entry]) -> TokenRun | None:
    """Return what `token_run` does if all events are tokens with text of a message that goes on, else None.

    Most pages are; encoders save time with them if the message is open already.
    """
    if entries[0].type != "token":
        return None
    contents, origin = run = token_run(entries, 0)
    whole = len(contents) == len(entries) and origin.finish_reason is None and EMPTY_TEXT not in contents
    return run if whole else None


def grouped(entries: Sequence[Entry]) -> Iterator[tuple[Entry, TokenRun | None]]:
    """Yield events in their order, consecutive tokens with the same fields as one item.

    Args:
        entries: Events.

    Yields:
        An event, and None; or the first of consecutive tokens, and what `token_run` returns for them.
    """
    position = 0
    while position < len(entries):
        entry, run = entries[position], None
        if entry.type == "token":
            run = token_run(entries, position)
        position += 1 if run is None else len(run[0])
        yield entry, run


def token_run(entries: Sequence[Entry], start: int) -> TokenRun:
    """Return the contents of consecutive tokens, and what they have in common.

    Args:
        entries: Events, of which the one at `start` is a token.
        start: Its index. The run ends before the next event that is none, or has other fields.

    Returns:
        The contents, each as the JSON of a string.

    Raises:
        msgspec.DecodeError: The event at `start` is malformed.
    """
    data = entries[start].data
    begin = data.find(_CONTENT)
    fields = data.find(_FIELDS, begin)
    if not 0 <= begin < fields:
        token = _token_decoder.decode(data)
        return [bytes(token.content)], Origin(token.finish_reason, token.message_id, token.source)
    tail, end = data[fields:], fields - len(data)
    origin = _origin_of(tail) if len(tail) <= _REMEMBERED_BYTES else _decode_origin(tail)
    contents = [data[begin + len(_CONTENT) : fields]]
    if start + 1 == len(entries) or entries[start + 1].type != "token" or origin.finish_reason is not None:
        return contents, origin
    before, content, after = _slices(begin, end)
    for entry in entries[start + 1 :]:
        data = entry.data
        if data[before] != _CONTENT:  # the number of digits before it has changed
            if (begin := data.find(_CONTENT)) < 0:
                break
            before, content, after = _slices(begin, end)
        if data[after] != tail or entry.type != "token":
            break
        contents.append(data[content])
    return contents, origin


def _decode_origin(tail: bytes) -> Origin:
    return _origin_decoder.decode(b"{" + tail[1:])


_origin_of = lru_cache(_REMEMBERED)(_decode_origin)  # for tokens that come one by one


def _slices(begin: int, end: int) -> tuple[slice, slice, slice]:
    """Return where events have the name of the content, the content, and the fields after it.

    Slicing with such objects is faster than with numbers.
    """
    content = begin + len(_CONTENT)
    return slice(begin, content), slice(content, end), slice(end, None)
