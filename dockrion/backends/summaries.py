"""What listings show of a run: its record without the output, shortened if it is large.

An error's details and the metadata may have megabytes, and a page of a listing hundreds of runs. Of a long
question there remain its first characters, without the schema of the answer.
"""

from typing import Any

import msgspec

from dockrion.backends.run_log import Run

SUMMARY_BYTES = 4096  # a record of this size is shown whole
_METADATA_BYTES = 2048
_TEXT_LENGTH = 500  # characters

_encoder = msgspec.json.Encoder()


def encode_record(run: Run) -> bytes:
    """Return a run as JSON without its input and output."""
    if run.input is not None or run.output is not None:
        run = msgspec.structs.replace(run, input=None, output=None)
    return _encoder.encode(run)


def shortened(run: Run) -> Run:
    """Return a run whose record is larger than `SUMMARY_BYTES` without large values."""
    error = run.error and {
        name: _cut(value) if isinstance(value, str) else None for name, value in run.error.items()
    }
    waiting_for = run.waiting_for and msgspec.structs.replace(
        run.waiting_for, prompt=_cut(run.waiting_for.prompt), schema=None
    )
    return msgspec.structs.replace(
        run,
        error=error,
        metadata=_last_entries(run.metadata),
        waiting_for=waiting_for,
        protocol=None,
        truncated=True,
    )


def _last_entries(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the last entries of a run's metadata that are not too large; the service's own are the last."""
    kept: dict[str, Any] = {}
    left = _METADATA_BYTES
    for name, value in reversed(metadata.items()):
        short = _cut(value) if isinstance(value, str) else value
        left -= len(_encoder.encode({name: short}))
        if left < 0:
            break
        kept[name] = short
    return dict(reversed(kept.items()))


def _cut(text: str) -> str:
    return text[:_TEXT_LENGTH]
