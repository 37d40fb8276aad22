"""Strategies for text that resembles frames, and a strict parser of event streams."""

import re
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.agents.harness import check_promises
from tests.support import Served
from tests.web.wire import RETRY, wire

_FRAME = re.compile(rb"id: ([1-9]\d*)\nevent: ([a-z]+|custom:[A-Za-z_]\w*)\ndata: ([^\r\n]+)\n\n")
_PIECES = (
    *(
        "\r",
        "\n",
        "\r\n",
        "\n\n",
        "\0",
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b",
        "\x0c",
        "\x1c",
        "\ufeff",
        "\x7f",
        "\x1b[2J",
    ),
    *(
        "data: ",
        "id: 7",
        "event: complete",
        ":",
        "retry: 1",
        '"',
        "\\",
        '{"type":"complete"}',
        "0\r\n\r\n",
        "[DONE]",
    ),
)
well_formed = st.lists(st.sampled_from(_PIECES) | st.characters(exclude_categories=["Cs"]), max_size=6).map(
    "".join
)
text = (
    well_formed
    | st.lists(st.sampled_from(_PIECES) | st.characters(), max_size=6).map("".join)
    | st.just("\ud800")
)


def json_values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )


async def read_strictly(served: Served, run_id: str) -> list[dict[str, Any]]:
    """Read a run to its end, check that the stream is exactly its log, and return its events."""
    async with wire(served) as connection:
        await connection.ask("GET", f"/runs/{run_id}/events")
        status, _ = await connection.head()
        assert " 200 " in status
        return await parse_stream(served, run_id, await connection.body())


async def parse_stream(served: Served, run_id: str, body: bytes) -> list[dict[str, Any]]:
    """Return the events of a complete stream, after checking that it consists of exactly the log's events."""
    assert body.startswith(RETRY), body
    events, at = [], len(RETRY)
    while at < len(body):
        frame = _FRAME.match(body, at)
        assert frame is not None, body[at:]
        event = msgspec.json.decode(frame[3])
        assert (b"%d" % event["sequence"], event["type"].encode()) == (frame[1], frame[2]), frame[0]
        events.append((event["sequence"], frame[3], event))
        at = frame.end()
    page = await served.service.backend.read(run_id, 0, 10_000)
    assert [(entry.sequence, entry.data) for entry in page.entries] == [event[:2] for event in events]
    decoded = [event for _, _, event in events]
    check_promises(await served.service.backend.get(run_id), decoded)
    return decoded
