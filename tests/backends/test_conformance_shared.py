"""What replicas count and keep together, in every backend."""

import asyncio
import logging

import pytest

from dockrion.backends import Backend
from dockrion.backends.shared_state import SECRET_BYTES
from tests.backends.conformance import TIMEOUT_SECONDS


async def until_anew(backend: Backend, name: str, window: int) -> None:
    """Count until a window is over."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await backend.count(name, window)).count > 1:
            await asyncio.sleep(0.01)


async def test_uses_are_counted_from_one_on(backend: Backend) -> None:
    assert [(await backend.count("n", 60)).count for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_the_time_left_is_that_from_the_first_use(backend: Backend) -> None:
    first, second, third = [(await backend.count("n", 60)).seconds_left for _ in range(3)]
    assert 60 >= first >= second >= third > 50


async def test_counting_begins_anew_when_the_window_is_over(backend: Backend) -> None:
    for _ in range(3):
        await backend.count("n", 1)
    await until_anew(backend, "n", 1)
    assert 0 < (await backend.count("n", 1)).seconds_left <= 1


async def test_a_short_window_does_not_end_a_long_one(backend: Backend) -> None:
    await backend.count("n", 60)
    await backend.count("n", 1)
    await until_anew(backend, "n", 1)
    assert (await backend.count("n", 60)).count == 2


@pytest.mark.parametrize("other", ["N", "n ", "", "n\0", "60:n", "\u00e9", "\udcff", "{n}", "*", "x" * 5_000])
async def test_names_are_counted_apart(backend: Backend, other: str) -> None:
    await backend.count("n", 60)
    await backend.count("n", 60)
    assert (await backend.count(other, 60)).count == 1
    assert (await backend.count(other, 59)).count == 1
    assert (await backend.count("n", 60)).count == 3


async def test_uses_at_once_are_all_counted_once(backend: Backend) -> None:
    uses = await asyncio.gather(*(backend.count("n", 60) for _ in range(200)))
    assert sorted(use.count for use in uses) == list(range(1, 201))


async def test_a_secret_stays_what_it_is(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, *again = [await backend.secret() for _ in range(5)]
    assert type(secret) is bytes
    assert len(secret) == SECRET_BYTES == 32
    assert set(again) == {secret}
    for form in (repr(secret), secret.hex()):
        assert form not in caplog.text


async def test_another_service_has_another_secret(backend: Backend, unbounded: Backend) -> None:
    assert await backend.secret() != await unbounded.secret()
