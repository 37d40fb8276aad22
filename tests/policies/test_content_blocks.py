"""Content blocks of one list, whose texts clients of other protocols are shown as one."""

from typing import Any

import msgspec

from dockrion.policies.output_redaction import OutputPolicy, RunTextFilter
from dockrion.policies.patterns import MASK

SECRET = r"secret-\d+"


def texts(*redact_patterns: str, **spec: Any) -> RunTextFilter:
    return OutputPolicy(redact_patterns, **spec).new_filter()


def test_content_blocks_of_a_list_are_one_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com"}}
    blocks = [{"type": "text", "text": "a secret-"}, image, {"type": "text", "text": "123 b"}]
    safe = [{"type": "text", "text": "a "}, image, {"type": "text", "text": f"{MASK} b"}]
    assert texts(SECRET).filter_output({"messages": [{"content": blocks}]}) == {
        "messages": [{"content": safe}]
    }
    content = msgspec.Raw(msgspec.json.encode(blocks))
    event = texts(SECRET).mask_fields("message", {"role": "ai", "content": content})
    assert msgspec.json.decode(msgspec.json.encode(event)) == {"role": "ai", "content": safe}
    last = [{"text": "a"}, {"text": "b secret-1"}, "secret-2", {"text": None}]
    assert texts("^b", SECRET).mask(last) == [{"text": "a"}, {"text": f"{MASK} {MASK}"}, MASK, {"text": None}]
    halting = texts(SECRET, halt_on_violation=True)
    halting.mask(blocks)
    assert halting.violation is not None
    harmless = [{"text": "secret"}, {"text": "-"}]
    assert texts(SECRET, halt_on_violation=True).mask(harmless) == harmless
