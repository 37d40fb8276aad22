"""The encodings of what Redis stores: records, events, index entries. Pure.

Replicas of other versions read them too during a rolling update. So a change adds what replicas of earlier
versions ignore, and does without what they drop when they write. A change with which they could not go on
raises `FORMAT`; they then refuse to use what is stored, and their runs are those of dead replicas.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dockrion import events
from dockrion.backends.pages import Page
from dockrion.backends.run_log import BadCursor, Run
from dockrion.backends.summaries import SUMMARY_BYTES, encode_record, shortened
from dockrion.errors import CorruptLog
from dockrion.events import Entry
from dockrion.ids import RUN_ID_PATTERN

FORMAT = 1  # versions that store no number have this one, too
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INDEX_ENTRY = re.compile(rf"[0-9]{{17}}:{RUN_ID_PATTERN.pattern}", re.ASCII)
_encoder = msgspec.json.Encoder()
_packer = msgspec.msgpack.Encoder()
_run_decoder = msgspec.json.Decoder(Run)
_reason_decoder: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)


def encode_run(run: Run) -> tuple[bytes, bytes]:
    """Return the record that listings read, and the whole record if that is larger, else nothing.

    Neither has the input and the output, which are stored beside them.
    """
    record = encode_record(run)
    if len(record) <= SUMMARY_BYTES:
        return record, b""
    return encode_record(shortened(run)), record


def encode_raw(value: msgspec.Raw | None) -> bytes:
    """Return an input or an output as it is stored, nothing if there is none."""
    return b"" if value is None else bytes(value)


def decode_run(record: bytes, output: bytes | None = None, incarnation: bytes | None = None) -> Run:
    """Return a run from its record, and what is stored beside it.

    Args:
        record: The record.
        output: The run's output.
        incarnation: The run's incarnation, which replicas of earlier versions drop from the record.

    Raises:
        CorruptLog: The record is malformed.
    """
    try:
        run = _run_decoder.decode(record)
    except msgspec.DecodeError:
        run = _decode_with_input(record)
    beside: dict[str, Any] = {}
    if output is not None:
        beside["output"] = msgspec.Raw(output)
    if incarnation is not None and incarnation != run.incarnation.encode():
        beside["incarnation"] = incarnation.decode(errors="replace")
    return msgspec.structs.replace(run, **beside) if beside else run


def _decode_with_input(record: bytes) -> Run:
    """Return a run from a record in which a replica of an earlier version has stored an input, too.

    Raises:
        CorruptLog: The record is malformed.
    """
    try:
        fields = msgspec.json.decode(record, type=dict[str, Any])
        shown = fields.pop("input", None)
        run = msgspec.convert(fields, Run)
    except msgspec.MsgspecError as error:
        raise CorruptLog("a run's record") from error
    return run if shown is None else msgspec.structs.replace(run, input=msgspec.Raw(_encoder.encode(shown)))


def decode_whole(record: bytes, whole: bytes | None, output: bytes | None, incarnation: bytes | None) -> Run:
    """Return a run from the record that listings read, and the whole record if that is larger.

    Raises:
        CorruptLog: One of them is malformed.
    """
    run = decode_run(record, output, incarnation)
    # A replica of an earlier version that ends the run leaves the whole record as it was.
    return decode_run(whole, output, incarnation) if whole and run.truncated else run


def decode_summary(record: bytes) -> Run:
    """Return what a listing shows of a run, whose record an earlier version may not have shortened.

    Raises:
        CorruptLog: The record is malformed.
    """
    run = decode_run(record)
    return run if len(record) <= SUMMARY_BYTES or run.truncated else shortened(run)


def failed(run: Run, error: dict[str, Any]) -> tuple[Run, Entry]:
    """Return the record and the terminal event of a run that fails now.

    Args:
        run: Its record.
        error: The fields of the event.
    """
    return _ended(run, "error", error, status="failed", error=error)


def cancelled(run: Run, reason: str | None) -> tuple[Run, Entry]:
    """Return the record and the terminal event of a run that is cancelled now."""
    shown = {"reason": reason}
    return _ended(run, "cancelled", shown, status="cancelled", metadata=run.metadata | shown)


def _ended(run: Run, kind: str, fields: dict[str, Any], **changes: Any) -> tuple[Run, Entry]:
    now, sequence = datetime.now(UTC), run.last_sequence + 1
    data = events.encode(kind, run.run_id, sequence, now, fields)
    last = Entry(sequence, kind, data, now.timestamp())
    ended = {"completed_at": now, "last_sequence": sequence, "waiting_for": None}
    return msgspec.structs.replace(run, **ended, **changes), last


def encode_reason(reason: str | None) -> bytes:
    return _encoder.encode(reason)


def decode_reason(reason: bytes) -> str | None:
    """Return the reason of a request to cancel; a malformed reason does not invalidate the request."""
    try:
        return _reason_decoder.decode(reason)
    except msgspec.DecodeError:
        return None


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Return entries in MessagePack, all as text: the decoder in Redis has no binary type."""
    return _packer.encode(
        [part for entry in entries for part in (entry.type, repr(entry.emitted_at), entry.data.decode())]
    )


def decode_page(reply: list[bytes]) -> Page:
    """Return the page in a reply of the script `read`."""
    last, first = int(reply[0]), int(reply[2])
    entries = [
        Entry(first + number, reply[at].decode(), reply[at + 2], float(reply[at + 1]))
        for number, at in enumerate(range(3, len(reply), 3))
    ]
    reached = entries[-1].sequence if entries else last
    return Page(entries, closed=bool(int(reply[1])) and reached >= last, more=reached < last)


def index_entry(run: Run) -> str:
    """Return the name of a run in the indexes, which sorts by time of creation."""
    return f"{(run.created_at - _EPOCH) // _MICROSECOND:017d}:{run.run_id}"


def index_time(seconds: float) -> str:
    """Return a text that sorts after the index entries of all runs created before a time."""
    return f"{int(seconds * 1_000_000):017d}"


def run_id_of(entry: str) -> str:
    return entry.partition(":")[2]


def checked_cursor(cursor: str) -> str:
    """Return a cursor, which is the index entry of the last run of a listing.

    Raises:
        BadCursor: The cursor is malformed.
    """
    if not _INDEX_ENTRY.fullmatch(cursor):
        raise BadCursor(cursor)
    return cursor
