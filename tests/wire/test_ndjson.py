"""NDJSON: events and control frames as lines."""

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Control, Draining, Gap, Gone, Timeout
from dockrion.wire import ndjson

CONTROLS: list[Control] = [Gap(1, 5), Timeout("over"), AuthExpired(), Gone(), Draining()]


def test_event_is_one_line() -> None:
    entries = [Entry(n, "token", b'{"sequence":%d}' % n, 0.0) for n in (1, 2)]
    assert ndjson.encode_events(entries) == b'{"sequence":1}\n{"sequence":2}\n'


def test_control_frame_is_one_line_with_a_type_and_no_sequence() -> None:
    lines = [*map(ndjson.encode_control, CONTROLS), ndjson.keepalive(b"{}"), ndjson.keepalive(None)]
    decoded = [msgspec.json.decode(line) for line in lines]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert all("sequence" not in each for each in decoded)
    names = ["gap", "timeout", "auth_expired", "gone", "draining", "heartbeat", "heartbeat"]
    assert [each["type"] for each in decoded] == names
