"""Whatever bytes a connection carries, the service responds or closes it, and reveals no internals."""

from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.conftest import Serve
from tests.fuzz import requests
from tests.fuzz.harness import TIMES, check_each, check_healthy, draw_examples
from tests.support import Served

# Short timeouts, as incomplete requests wait for them.
QUICK: dict[str, Any] = {"limits": {"idle_timeout": 1, "body_timeout": 1, "max_body_bytes": 4000}}
STREAMING: dict[str, Any] = {"streaming": {"ingest": {"enabled": True, "idle_timeout": 1}}}


@pytest.fixture
async def served(serve: Serve) -> Served:
    served = await serve(lambda payload: {"received": payload}, **QUICK, **STREAMING)
    await served.finished(await served.start(run_id="done"))
    return served


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (requests.malformed, 150),
        (requests.valid, 200),
        (requests.valid_chunked, 60),
        (st.lists(requests.malformed | requests.valid, min_size=2, max_size=4).map(b"".join), 40),
        (st.binary(max_size=60), 50),
    ],
    ids=["malformed", "valid", "chunked", "pipelined", "bytes"],
)
async def test_any_bytes_get_valid_responses_or_a_closed_connection(
    served: Served, caplog: pytest.LogCaptureFixture, kind: st.SearchStrategy[bytes], count: int
) -> None:
    drawn, random = draw_examples(kind, count), Random(TIMES)
    await check_each(served, drawn + [requests.mutate(each, random) for each in drawn * 3])
    await check_healthy(served, caplog)
