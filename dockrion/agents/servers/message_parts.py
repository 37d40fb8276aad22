"""Parts of messages, which payloads have as in OpenAI's Chat Completions API, for other protocols."""

from typing import Any, NamedTuple

_AUDIO_MEDIA_TYPES = {"mp3": "audio/mpeg"}
_OTHER_AUDIO = "audio/wav"  # the only other format of that API


class Media(NamedTuple):
    """The content of a part that is no text.

    Attributes:
        kind: The type of the part: `image_url`, `input_audio` or `file`.
        media_type: Its media type, None if only the server at its URL knows it.
        data: Its bytes in Base64, None if it is at a URL.
        url: Where it is, None if it is not.
    """

    kind: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


def media_of(part: Any) -> Media | None:
    """Return the content of a part, None if it is another part or malformed."""
    kind = part.get("type") if isinstance(part, dict) else None
    content = part.get(kind) if isinstance(kind, str) else None
    match kind, content:
        case "input_audio", {"data": str(data), **others}:
            media_type = _AUDIO_MEDIA_TYPES.get(str(others.get("format")), _OTHER_AUDIO)
            return Media("input_audio", media_type, data)
        case ("image_url", {"url": str(url)}) | ("image_url", str(url)) | ("file", {"file_data": str(url)}):
            head, comma, data = url.partition(",")
            if url.startswith("data:") and comma and head.endswith(";base64"):
                return Media(str(kind), head[len("data:") : -len(";base64")], data)
            return Media(str(kind), url=url)
    return None
