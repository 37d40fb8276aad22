"""Run ids: their form, and the generators of default ids and of incarnations."""

import os
import re
import time

from dockrion.errors import InvalidRequest

RUN_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
RUN_ID_FORM = "1 to 128 letters, digits, '-' and '_', starting with a letter or digit"  # for messages
RUN_ID_HEADER = "X-Run-Id"  # response header: the run whose events the response streams
INCARNATION_HEADER = "X-Run-Incarnation"  # response header: which of the runs that have had the id
IDEMPOTENCY_HEADER = "Idempotency-Key"  # request header: the same in each attempt to make one request
REPLAYED_HEADER = "Idempotency-Replayed"  # response header: the request had been carried out already
REQUEST_ID_HEADER = "X-Request-ID"  # of requests and responses, and of requests to agent processes
INCARNATION_PATTERN = re.compile(r"[0-9a-f]{16}", re.ASCII)


def validate_run_id(run_id: str) -> str:
    """Return a run id from a request unchanged.

    Raises:
        InvalidRequest: The id is malformed.
    """
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise InvalidRequest(f"invalid run id: expected {RUN_ID_FORM}")
    return run_id


def new_incarnation() -> str:
    """Return a random token for a new run: its id may have been another run's, and may be so again."""
    return os.urandom(8).hex()


def uuid7() -> str:
    """Return a new UUID that sorts by creation time (RFC 9562, version 7)."""
    time_ms = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10).hex()
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{time_ms[:8]}-{time_ms[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
