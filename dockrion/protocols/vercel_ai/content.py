"""Content blocks of messages, as models' providers and LangChain write them, as parts of a UI message."""

import re
from collections.abc import Mapping

import msgspec

from dockrion.protocols.token_runs import EMPTY_TEXT
from dockrion.protocols.vercel_ai.chunks import chunk, json_text

_URL = re.compile(r"https?://|data:", re.IGNORECASE)  # pages may open what they get: no javascript:
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)[;,]", re.IGNORECASE | re.ASCII)
_MEDIA_TYPES = {"image": "image/*", "image_url": "image/*", "audio": "audio/*", "video": "video/*"}
_TEXT = b'"text"'
_ANY_MEDIA_TYPE = "application/octet-stream"


class _Url(msgspec.Struct, frozen=True):
    url: str


class _Source(msgspec.Struct, frozen=True):
    """Anthropic's."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class _File(msgspec.Struct, frozen=True):
    """A file or image of any provider: what there is of the fields that they have."""

    type: str
    url: str | None = None
    base64: str | None = None
    mime_type: str | None = None
    image_url: _Url | str | None = None
    source: _Source | None = None

    @property
    def media_type(self) -> str:
        named = self.mime_type or (self.source and self.source.media_type)
        in_url = _DATA_URL.match(self.location)
        return named or (in_url and in_url[1]) or _MEDIA_TYPES.get(self.type, _ANY_MEDIA_TYPE)

    @property
    def location(self) -> str:
        """The URL, empty if there is none."""
        source, image = self.source or _Source(), self.image_url
        data = self.base64 or source.data
        if data:
            media_type = self.mime_type or source.media_type or _ANY_MEDIA_TYPE
            return f"data:{media_type};base64,{data}"
        return self.url or source.url or (image.url if isinstance(image, _Url) else image) or ""


class _Citation(msgspec.Struct, frozen=True):
    url: str | None = None
    title: str | None = None


class _Text(msgspec.Struct, frozen=True):
    annotations: list[_Citation] = []


_decode_file = msgspec.json.Decoder(_File).decode
_decode_text = msgspec.json.Decoder(_Text).decode


def text_in(block: Mapping[str, msgspec.Raw]) -> bytes:
    """Return JSON of the text of a block, nothing if it has none."""
    text = bytes(block.get("text", b"")) if bytes(block.get("type", b"")) == _TEXT else b""
    return text if text.startswith(b'"') and text != EMPTY_TEXT else b""


def chunks_beside_text(block: Mapping[str, msgspec.Raw]) -> list[bytes]:
    """Return the chunks for what a block has besides text: a file, or what its text cites."""
    is_text = bytes(block.get("type", b"")) == _TEXT
    if is_text and "annotations" not in block:
        return []
    try:
        data = msgspec.json.encode(block)
        return _sources(_decode_text(data)) if is_text else _files(_decode_file(data))
    except msgspec.DecodeError:  # of another shape
        return []


def _files(file: _File) -> list[bytes]:
    url = file.location
    known = _URL.match(url)
    return [chunk(b"file", url=json_text(url), mediaType=json_text(file.media_type))] if known else []


def _sources(text: _Text) -> list[bytes]:
    found = []
    for each in text.annotations:
        if each.url is not None and _URL.match(each.url):
            url = json_text(each.url)
            title = {} if each.title is None else {"title": json_text(each.title)}
            found.append(chunk(b"source-url", sourceId=url, url=url, **title))
    return found
