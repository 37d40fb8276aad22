"""Requests between replicas of this and of other versions."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from dockrion.backends.memory import MemoryBackend
from dockrion.errors import (
    Conflict,
    DockrionError,
    Gone,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    QuestionNotOpen,
    RunNotFound,
    ServiceUnavailable,
)
from dockrion.runs.ingest import Batch
from dockrion.runs.owner_requests import PUSH, OwnerRequests, Refusal
from tests.backends.conformance import new_run


class Ask(msgspec.Struct, tag_field="kind", tag="ask"):
    number: int


class Reply(msgspec.Struct, tag="Reply"):
    number: int


@pytest.fixture
async def backend() -> AsyncIterator[MemoryBackend]:
    made = MemoryBackend(max_events=10, ttl=60)
    await made.create(new_run("r"))
    yield made
    await made.aclose()


@pytest.fixture
async def requests(backend: MemoryBackend) -> AsyncIterator[OwnerRequests]:
    made = OwnerRequests(backend)
    yield made
    await made.aclose(1)


async def asked(requests: OwnerRequests, backend: MemoryBackend, request: Any = None) -> Any:
    run = await backend.get("r")
    return await requests.send("r", request or Ask(3), run.incarnation, Reply)


async def test_each_kind_has_its_handler(requests: OwnerRequests, backend: MemoryBackend) -> None:
    received: list[bytes] = []

    async def handle(request: Any) -> Reply:
        received.append(request.body)
        return Reply(len(received))

    requests.on("ask", handle)
    assert await asked(requests, backend) == Reply(1)
    with pytest.raises(InvalidRequest, match=r"streaming\.ingest"):
        await asked(requests, backend, Batch([{"type": "token"}]))
    requests.on(PUSH, handle)
    assert await asked(requests, backend, Batch([], 7)) == Reply(2)
    assert received == [b'{"kind":"ask","number":3}', b'{"events":[],"producer_seq":7}']


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (InvalidRequest("wrong", details=[1]), InvalidRequest),
        (Conflict("late"), Conflict),
        (QuestionNotOpen("q"), Conflict),
        (NotFound("none"), NotFound),
        (RunNotFound("r"), NotFound),
        (Gone("over"), Gone),
        (PayloadTooLarge("large"), PayloadTooLarge),
        (ServiceUnavailable("away"), ServiceUnavailable),
        (DockrionError("broken"), ServiceUnavailable),
        (ValueError("broken, and nobody's business"), ServiceUnavailable),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
async def test_what_the_owner_raises_is_raised_by_the_sender(
    requests: OwnerRequests, backend: MemoryBackend, raised: Exception, seen: type[DockrionError]
) -> None:
    async def handle(_request: Any) -> Reply:
        raise raised

    requests.on("ask", handle)
    with pytest.raises(seen) as refused:
        await asked(requests, backend)
    assert type(refused.value) is seen
    assert "business" not in refused.value.message
    if isinstance(raised, DockrionError):
        assert (refused.value.message, refused.value.details) == (raised.message, raised.details)


async def test_a_kind_of_a_later_version_is_unavailable(
    requests: OwnerRequests, backend: MemoryBackend
) -> None:
    with pytest.raises(ServiceUnavailable, match="another version"):
        await asked(requests, backend)


async def test_a_refusal_of_a_later_version_is_unavailable(
    requests: OwnerRequests, backend: MemoryBackend
) -> None:
    async def handle(_request: Any) -> Refusal:
        return Refusal("Unheard", "of")

    requests.on("ask", handle)
    with pytest.raises(ServiceUnavailable, match="of"):
        await asked(requests, backend)
