"""Questions to whoever runs a run, and their answers, of every backend."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion.backends import Backend
from dockrion.backends.owner_messages import OwnerRequest
from dockrion.errors import RunNotFound, ServiceUnavailable
from tests.backends.conformance import BACKENDS, TIMEOUT_SECONDS, begin, cancel_requests, sequences

SOON = 0.05  # how long an answer that must not come is waited for
Reply = Callable[[OwnerRequest], Awaitable[None]]


@asynccontextmanager
async def answering(backend: Backend, reply: Reply) -> AsyncIterator[list[OwnerRequest]]:
    """Hear questions, as whoever owns runs does; each is answered in a task of its own."""
    heard: list[OwnerRequest] = []

    async def listen() -> None:
        async with asyncio.TaskGroup() as group:
            async for question in backend.owner_requests():
                heard.append(question)
                group.create_task(_run(reply, question))

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _run(reply: Reply, question: OwnerRequest) -> None:
    await reply(question)


async def echo(question: OwnerRequest) -> None:
    await question.reply(question.run_id.encode() + b"|" + question.body)


async def ignore(_question: OwnerRequest) -> None:
    """Say nothing."""


async def ask(backend: Backend, run_id: str, text: bytes) -> bytes:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await backend.request_owner(run_id, text)


async def test_an_answer_comes_back(backend: Backend) -> None:
    writer = await begin(backend)
    async with answering(backend, echo) as heard:
        assert await ask(backend, writer.run_id, b"what?") == writer.run_id.encode() + b"|what?"
    assert [(question.run_id, question.body) for question in heard] == [(writer.run_id, b"what?")]


@pytest.mark.parametrize(
    "text", [b"", b"\x00", b"\r\n$-1\r\n", bytes(range(256)), "\N{GREEK SMALL LETTER BETA}".encode()]
)
async def test_questions_and_answers_are_any_bytes(backend: Backend, text: bytes) -> None:
    async def repeat(question: OwnerRequest) -> None:
        await question.reply(question.body)

    writer = await begin(backend)
    async with answering(backend, repeat):
        assert await ask(backend, writer.run_id, text) == text


async def test_questions_and_answers_may_be_large(backend: Backend) -> None:
    large = random.randbytes(12 * 1024**2)

    async def reverse(question: OwnerRequest) -> None:
        await question.reply(question.body[::-1][: 1024**2])

    writer = await begin(backend)
    async with answering(backend, reverse):
        assert await ask(backend, writer.run_id, large) == large[::-1][: 1024**2]


async def test_an_unknown_run_has_nobody_to_ask(backend: Backend) -> None:
    async with answering(backend, echo) as heard:
        with pytest.raises(RunNotFound):
            await ask(backend, "nobody", b"?")
        assert heard == []


async def test_many_who_ask_at_once_get_each_their_own_answer(backend: Backend) -> None:
    runs = [(await begin(backend)).run_id for _ in range(5)]
    asked = [(run_id, b"%d" % number) for number in range(40) for run_id in runs]
    async with answering(backend, echo):
        answers = await asyncio.gather(*(ask(backend, run_id, text) for run_id, text in asked))
    assert answers == [run_id.encode() + b"|" + text for run_id, text in asked]


async def test_answers_need_not_come_in_the_order_of_the_questions(backend: Backend) -> None:
    writer = await begin(backend)
    waiting: list[OwnerRequest] = []

    async def answer_last_first(question: OwnerRequest) -> None:
        waiting.append(question)
        if len(waiting) == 5:
            for each in reversed(waiting):
                await echo(each)

    async with answering(backend, answer_last_first):
        answers = await asyncio.gather(*(ask(backend, writer.run_id, b"%d" % n) for n in range(5)))
    assert answers == [f"{writer.run_id}|{n}".encode() for n in range(5)]


async def test_questions_are_heard_in_their_order(backend: Backend) -> None:
    writer = await begin(backend)
    async with answering(backend, echo) as heard:
        for number in range(10):
            await ask(backend, writer.run_id, b"%d" % number)
    assert [question.body for question in heard] == [b"%d" % number for number in range(10)]


async def test_a_question_waits_for_somebody_who_hears_it(backend: Backend) -> None:
    writer = await begin(backend)
    asking = asyncio.create_task(ask(backend, writer.run_id, b"early"))
    await asyncio.wait((asking,), timeout=SOON)
    assert not asking.done()
    async with answering(backend, echo):
        assert await asking == writer.run_id.encode() + b"|early"


async def test_no_answer_is_unavailable_in_the_end(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", SOON)
    writer = await begin(backend)
    async with answering(backend, ignore):
        with pytest.raises(ServiceUnavailable) as refused:
            await ask(backend, writer.run_id, b"?")
    assert "Retry-After" in refused.value.headers


async def test_answers_that_come_too_late_or_twice_reach_nobody(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", SOON)
    writer = await begin(backend)
    async with answering(backend, ignore) as heard:
        with pytest.raises(ServiceUnavailable):
            await ask(backend, writer.run_id, b"slow")
    monkeypatch.setattr("dockrion.backends.owner_messages._REPLY_SECONDS", TIMEOUT_SECONDS)

    async def late_then_twice(question: OwnerRequest) -> None:
        for each in (*heard, question):
            await each.reply(each.body)
            await each.reply(b"again")

    async with answering(backend, late_then_twice):
        assert await ask(backend, writer.run_id, b"now") == b"now"
        assert await ask(backend, writer.run_id, b"next") == b"next"


async def test_an_asker_who_leaves_disturbs_nobody(backend: Backend) -> None:
    writer = await begin(backend)
    leaving = asyncio.create_task(ask(backend, writer.run_id, b"leaves"))
    await asyncio.wait((leaving,), timeout=SOON)
    leaving.cancel()
    await asyncio.wait((leaving,))
    async with answering(backend, echo):
        assert await ask(backend, writer.run_id, b"stays") == writer.run_id.encode() + b"|stays"


async def test_questions_and_cancels_do_not_mix(backend: Backend) -> None:
    writer = await begin(backend)
    async with answering(backend, echo) as heard, cancel_requests(backend) as cancels:
        await backend.request_cancel(writer.run_id, "enough")
        await ask(backend, writer.run_id, b"?")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await cancels.get() == (writer.run_id, "enough")
    assert len(heard) == 1
    assert cancels.empty()


async def test_a_question_stores_nothing_in_the_run(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    async with answering(backend, echo):
        await ask(backend, writer.run_id, b"?")
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2, 3]
    await writer.write()


async def test_a_finished_run_may_be_asked_about(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.finish()
    async with answering(backend, echo):
        assert await ask(backend, writer.run_id, b"?") == writer.run_id.encode() + b"|?"


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", sorted(BACKENDS))
@given(texts=st.lists(st.binary(max_size=50), max_size=20), turns=st.lists(st.integers(0, 5), min_size=1))
async def test_whatever_is_asked_at_once_everybody_gets_the_answer_to_their_question(
    kind: str, texts: list[bytes], turns: list[int]
) -> None:
    async def slowly(question: OwnerRequest) -> None:
        for _ in range(turns[len(question.body) % len(turns)]):
            await asyncio.sleep(0)
        await echo(question)

    async with BACKENDS[kind](20) as made:
        writer = await begin(made)
        async with answering(made, slowly) as heard:
            answers = await asyncio.gather(*(ask(made, writer.run_id, text) for text in texts))
    assert answers == [writer.run_id.encode() + b"|" + text for text in texts]
    assert sorted(question.body for question in heard) == sorted(texts)
