"""Parts of messages, as payloads have them."""

from typing import Any

import pytest

from dockrion.agents.servers import ag_ui
from dockrion.agents.servers.message_parts import Media, media_of


@pytest.mark.parametrize(
    ("part", "media"),
    [
        ({"type": "image_url", "image_url": "https://h/a"}, Media("image_url", url="https://h/a")),
        ({"type": "image_url", "image_url": {"url": "data:a/b,x"}}, Media("image_url", url="data:a/b,x")),
        ({"type": "file", "file": {"file_data": "data:a/b;base64,AA"}}, Media("file", "a/b", "AA")),
        ({"type": "input_audio", "input_audio": {"data": "AA"}}, Media("input_audio", "audio/wav", "AA")),
        ({"type": "input_audio", "input_audio": {"format": "mp3"}}, None),
        ({"type": "text", "text": "x"}, None),
        ({"type": "file", "file": {"file_id": "x"}}, None),
        ({"type": ["file"]}, None),
        ("file", None),
    ],
)
def test_media_of_parts(part: Any, media: Media | None) -> None:
    assert media_of(part) == media


@pytest.mark.parametrize("part", [{"type": ["file"]}, {"type": "image"}, "file", None])
def test_what_is_no_part_of_openais_api_goes_to_ag_ui_as_it_is(part: Any) -> None:
    assert ag_ui._part(part, "messages[0].content") is part
