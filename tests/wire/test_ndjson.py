"""Events as lines of JSON."""

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Control, Draining, Gap, Gone, Timeout
from dockrion.wire import ndjson

CONTROLS: list[Control] = [Gap(1, 5), Timeout("over"), AuthExpired(), Gone(), Draining()]


def test_each_event_is_a_line_of_its_own_bytes() -> None:
    entries = [Entry(n, "token", b'{"sequence":%d}' % n, 0.0) for n in (1, 2)]
    assert ndjson.frames(entries) == b'{"sequence":1}\n{"sequence":2}\n'


def test_what_is_no_event_is_a_line_with_a_type_and_no_sequence() -> None:
    lines = [*map(ndjson.said, CONTROLS), ndjson.sign_of_life(b"{}"), ndjson.sign_of_life(None)]
    said = [msgspec.json.decode(line) for line in lines]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert all("sequence" not in each for each in said)
    names = ["gap", "timeout", "auth_expired", "gone", "draining", "heartbeat", "heartbeat"]
    assert [each["type"] for each in said] == names
