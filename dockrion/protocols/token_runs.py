"""Reading consecutive tokens of one message from their JSON, without decoding what only has to be copied.

The time that a protocol takes is mostly that of its tokens. In an event that `events.encode` has written, the
content stands between the common fields, in which nobody can write a quote, and the fields that are the same
for all tokens of a message, so that comparing bytes finds it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from dockrion.events import Entry
from dockrion.protocols import OpenText

EMPTY_TEXT = b'""'  # the content of a token without text
_CONTENT = b',"content":'
_REMEMBERED, _REMEMBERED_BYTES = 256, 256
_MAX_OPEN = 8  # texts that are looked for; parallel branches write several at once
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


OpenTexts = tuple[OpenText, ...]


class TokenRun(NamedTuple):
    """Consecutive tokens with the same fields.

    Attributes:
        contents: Their contents, each as the JSON of a string.
        origin: What they have in common.
        fields: The bytes of the events after the content, empty where the layout is another.
    """

    contents: list[bytes]
    origin: Origin
    fields: bytes = b""

    def with_text(self, first: int) -> tuple[Sequence[int], list[bytes]]:
        """Return the tokens that are not empty: their sequences, and their contents.

        Args:
            first: The sequence of the first token.
        """
        sequences = range(first, first + len(self.contents))
        if EMPTY_TEXT not in self.contents:
            return sequences, self.contents
        indexes = [index for index, content in enumerate(self.contents) if content != EMPTY_TEXT]
        return [sequences[index] for index in indexes], [self.contents[index] for index in indexes]


class _Token(Origin, frozen=True, kw_only=True):
    content: msgspec.Raw


_token_decoder = msgspec.json.Decoder(_Token)
_origin_decoder = msgspec.json.Decoder(Origin)


def continuing(texts: OpenTexts, entries: Sequence[Entry]) -> tuple[Any, list[bytes]] | None:
    """Return which text events go on with, and their contents, if all are its tokens; else None.

    Most pages are, so that encoders save time with them.

    Args:
        texts: The texts that are open.
        entries: Events.
    """
    for each in texts:
        if (contents := _contents_of_all(entries, each.fields)) is not None:
            return each.text, contents
    return None


def texts_after(
    texts: tuple[OpenText, ...], run: TokenRun, text: Any, *, changed: bool
) -> tuple[OpenText, ...]:
    """Return the texts that are open after tokens.

    Args:
        texts: Those that were open before.
        run: The tokens.
        text: What an encoder needs to write more of them.
        changed: Whether they have changed more than a text that was open: tokens like those before may, too.
    """
    if run.origin.finish_reason is not None:
        return ()
    if changed:
        texts = ()
    if not run.fields or any(each.fields == run.fields for each in texts):
        return texts
    return (*texts[-_MAX_OPEN + 1 :], OpenText(run.fields, text))


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
    """Return consecutive tokens with the same fields.

    Args:
        entries: Events, of which the one at `start` is a token.
        start: Its index. The run ends before the next event that is none, or has other fields.

    Raises:
        msgspec.DecodeError: The event at `start` is malformed.
    """
    data = entries[start].data
    begin = data.find(_CONTENT)
    fields = data.find(_FIELDS, begin)
    if not 0 <= begin < fields:
        token = _token_decoder.decode(data)
        return TokenRun([bytes(token.content)], Origin(token.finish_reason, token.message_id, token.source))
    tail = data[fields:]
    origin = _origin_of(tail) if len(tail) <= _REMEMBERED_BYTES else _decode_origin(tail)
    if origin.finish_reason is not None:
        return TokenRun([data[begin + len(_CONTENT) : fields]], origin, tail)
    return TokenRun(_contents(entries, start, begin, tail), origin, tail)


def _contents_of_all(entries: Sequence[Entry], fields: bytes) -> list[bytes] | None:
    """Return the contents of events if all are tokens with text and with these fields, else None."""
    first = entries[0]
    data = first.data
    if not data.endswith(fields) or first.type != "token" or (begin := data.find(_CONTENT)) < 0:
        return None
    if len(entries) == 1:
        content = data[begin + len(_CONTENT) : -len(fields)]
        return None if content == EMPTY_TEXT else [content]
    contents = _contents(entries, 0, begin, fields)
    return contents if len(contents) == len(entries) and EMPTY_TEXT not in contents else None


def _contents(entries: Sequence[Entry], start: int, begin: int, fields: bytes) -> list[bytes]:
    """Return the contents of consecutive tokens that have the same fields.

    Args:
        entries: Events.
        start: The index of the first token.
        begin: Where that one has the name of its content.
        fields: What stands after the content.
    """
    end = -len(fields)
    contents = [entries[start].data[begin + len(_CONTENT) : end]]
    if start + 1 == len(entries) or entries[start + 1].type != "token":
        return contents
    before, content, after = _slices(begin, end)
    for entry in entries[start + 1 :]:
        data = entry.data
        if data[before] != _CONTENT:  # the number of digits before it has changed
            if (begin := data.find(_CONTENT)) < 0:
                break
            before, content, after = _slices(begin, end)
        if data[after] != fields or entry.type != "token":
            break
        contents.append(data[content])
    return contents


def _decode_origin(tail: bytes) -> Origin:
    return _origin_decoder.decode(b"{" + tail[1:])


_origin_of = lru_cache(_REMEMBERED)(_decode_origin)  # for tokens that come one by one


def _slices(begin: int, end: int) -> tuple[slice, slice, slice]:
    """Return where events have the name of the content, the content, and the fields after it.

    Slicing with such objects is faster than with numbers.
    """
    content = begin + len(_CONTENT)
    return slice(begin, content), slice(content, end), slice(end, None)
