"""Agent processes with arbitrary responses."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.processes import (
    JSON,
    NDJSON,
    SSE,
    Handler,
    ReceivedRequest,
    Wire,
    run_against,
    run_with_response,
)
from tests.support import TIMEOUT_SECONDS


def bare(data: bytes) -> Handler:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(data)
        wire.close()

    return answer


pieces = st.lists(
    st.sampled_from(
        [
            *(
                b"data: ",
                b"event: ",
                b"\n",
                b"\n\n",
                b"\r",
                b"{",
                b"}",
                b"[",
                b"]",
                b":",
                b",",
                b"1",
                b"\xff",
            ),
            *(b'"type"', b'"token"', b'"complete"', b"token", b"complete", b"error", b"[DONE]"),
            *(b'{"choices":[', b'"delta"', b'"error":', b'"output":'),
        ]
    )
    | st.binary(max_size=8),
    max_size=12,
)


@settings(max_examples=80)
@given(content_type=st.sampled_from((JSON, NDJSON, SSE)), body=pieces.map(b"".join))
async def test_any_response_ends_the_run_with_an_error_code(content_type: str, body: bytes) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        ended = await run_with_response(content_type, body)
    known = ("AGENT_EXECUTION_ERROR", "AGENT_PROTOCOL_ERROR", "AGENT_DISCONNECTED")
    assert ended.run.status in ("completed", "cancelled") or ended.code in known


@settings(max_examples=50)
@given(data=st.binary(max_size=64), headed=st.booleans())
async def test_any_bytes_instead_of_http_end_the_run_with_an_error_code(data: bytes, headed: bool) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        ended = await run_against(bare((b"HTTP/1.1 200 OK\r\n" if headed else b"") + data))
    if ended.run.status == "completed":  # a whole head, and no body
        assert headed
        assert ended.output is None
    else:
        assert ended.code in ("AGENT_EXECUTION_ERROR", "AGENT_PROTOCOL_ERROR", "AGENT_DISCONNECTED")
