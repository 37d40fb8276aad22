"""Run ids of a custom generator: how it is called, and its failures."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dockrion.agents import id_generator as ids
from dockrion.agents.id_generator import CustomIdGenerator, IdRequest
from dockrion.errors import DockrionError


def without() -> str:
    return "made-1"


def with_request(request: IdRequest) -> str:
    return f"{request.agent_name}-1"


def with_default(request: IdRequest | None = None) -> str:
    return "made-1" if request is None else "wrong"


def with_anything(*_args: Any, **_more: Any) -> str:
    return "made-1"


async def async_without() -> str:
    await asyncio.sleep(0)
    return "made-1"


async def async_with_request(request: IdRequest) -> str:
    await asyncio.sleep(0)
    return f"{request.agent_name}-1"


class Maker:
    def __call__(self, request: IdRequest) -> str:
        return f"{request.agent_name}-1"

    def method(self) -> str:
        return "made-1"


@pytest.mark.parametrize(
    "generator",
    [
        without,
        with_request,
        with_default,
        with_anything,
        async_without,
        async_with_request,
        Maker(),
        Maker().method,
        lambda: "made-1",
    ],
)
async def test_generator_of_any_signature_is_called(generator: Callable[..., Any]) -> None:
    assert await CustomIdGenerator(generator, "made").new() == "made-1"


async def test_request_has_agent_name_and_timestamp() -> None:
    asked: list[IdRequest] = []

    def generator(request: IdRequest) -> str:
        asked.append(request)
        return "a"

    before = datetime.now(UTC)
    await CustomIdGenerator(generator, "bot").new()
    assert asked[0].agent_name == "bot"
    assert before <= asked[0].timestamp <= datetime.now(UTC)


async def test_generator_is_called_for_each_run() -> None:
    numbers = iter("abc")
    generator = CustomIdGenerator(lambda: next(numbers), "bot")
    assert [await generator.new() for _ in range(3)] == ["a", "b", "c"]


async def test_sync_generator_does_not_block_the_event_loop() -> None:
    go = threading.Event()

    def generator() -> str:
        go.wait(10)
        return "a"

    asking = asyncio.create_task(CustomIdGenerator(generator, "bot").new())
    await asyncio.sleep(0)
    go.set()  # not reached, were the loop held
    assert await asking == "a"


def wants_two(_one: object, _other: object) -> str:
    return "a"


def wants_a_keyword(*, name: str) -> str:
    return name


@pytest.mark.parametrize("generator", [wants_two, wants_a_keyword])
def test_generator_that_requires_more_arguments_is_rejected(generator: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        CustomIdGenerator(generator, "bot")


@pytest.mark.parametrize(
    "returned", ["", "a b", "-a", "a" * 129, "a/b", None, 5, b"a", ["a"], UUID(int=1)], ids=repr
)
async def test_invalid_run_id_is_rejected(returned: Any) -> None:
    with pytest.raises(DockrionError, match="generator failed") as refused:
        await CustomIdGenerator(lambda: returned, "bot").new()
    assert "not a run id" in str(refused.value.__cause__)  # for the log, not for the caller


@pytest.mark.parametrize(
    "error",
    [ValueError("secret"), StopIteration(), KeyError(), RuntimeError(), TimeoutError(), SystemExit(1)],
    ids=repr,
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_exception_of_a_generator_is_an_internal_error_without_its_text(
    error: BaseException, is_async: bool
) -> None:
    def generator() -> str:
        raise error

    async def async_generator() -> str:
        raise error

    try:
        await CustomIdGenerator(async_generator if is_async else generator, "bot").new()
    except BaseException as caught:  # SystemExit would end pytest's loop
        raised: BaseException | None = caught
    else:
        raised = None
    assert isinstance(raised, DockrionError)
    assert (raised.status, raised.code) == (500, "INTERNAL_ERROR")
    assert "secret" not in raised.message


async def test_slow_generator_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_TIMEOUT", 0.02)
    go = threading.Event()

    async def never() -> str:
        await asyncio.Event().wait()
        return "a"

    for generator in (never, lambda: go.wait(10)):
        with pytest.raises(DockrionError, match="failed"):
            await CustomIdGenerator(generator, "bot").new()
    go.set()
