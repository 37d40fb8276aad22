"""Whatever bytes come over a connection: an answer or an end, soon, that shows nothing of our insides."""

from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.conftest import Serve
from tests.fuzz import requests
from tests.fuzz.laws import TIMES, holds_for_each, several, still_serves
from tests.support import Served

# What is unfinished waits for these.
QUICK: dict[str, Any] = {"limits": {"idle_timeout": 1, "body_timeout": 1, "max_body_bytes": 4000}}
STREAMING: dict[str, Any] = {"streaming": {"ingest": {"enabled": True, "idle_timeout": 1}}}


@pytest.fixture
async def served(serve: Serve) -> Served:
    served = await serve(lambda payload: {"said": payload}, **QUICK, **STREAMING)
    await served.finished(await served.start(run_id="done"))
    return served


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (requests.malformed, 150),
        (requests.sound, 200),
        (requests.sound_chunked, 60),
        (st.lists(requests.malformed | requests.sound, min_size=2, max_size=4).map(b"".join), 40),
        (st.binary(max_size=60), 50),
    ],
    ids=["malformed", "sound", "chunked", "pipelined", "bytes"],
)
async def test_anything_sent_is_answered_or_ended_in_order(
    served: Served, caplog: pytest.LogCaptureFixture, kind: st.SearchStrategy[bytes], count: int
) -> None:
    drawn, random = several(kind, count), Random(TIMES)
    await holds_for_each(served, drawn + [requests.damaged(each, random) for each in drawn * 3])
    await still_serves(served, caplog)
