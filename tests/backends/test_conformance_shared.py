"""The shared state: counters, held names and the secret."""

import asyncio
import logging

import pytest

from dockrion.backends import Backend
from dockrion.backends.shared_state import SECRET_BYTES
from tests.backends.conformance import TIMEOUT_SECONDS, not_over_deployments


async def wait_for_next_window(backend: Backend, name: str, window: int) -> None:
    """Count until a window is over."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await backend.count(name, window)).count > 1:
            await asyncio.sleep(0.01)


async def test_counter_starts_at_one(backend: Backend) -> None:
    assert [(await backend.count("n", 60)).count for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_window_begins_with_the_first_increment(backend: Backend) -> None:
    first, second, third = [(await backend.count("n", 60)).seconds_left for _ in range(3)]
    assert 60 >= first >= second >= third > 50


async def _count_starts_over_after_the_window(backend: Backend) -> None:
    for _ in range(3):
        await backend.count("n", 1)
    await wait_for_next_window(backend, "n", 1)
    assert 0 < (await backend.count("n", 1)).seconds_left <= 1


async def _windows_of_one_name_are_independent(backend: Backend) -> None:
    await backend.count("both", 60)
    await backend.count("both", 1)
    await wait_for_next_window(backend, "both", 1)
    assert (await backend.count("both", 60)).count == 2


async def _claim_ends(backend: Backend) -> None:
    assert await backend.claim("n", b"a", 1) == b"a"
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await backend.claim("n", b"b", 60) != b"b":
            await asyncio.sleep(0.01)
    assert await backend.claim("n", b"a", 60) == b"b"


async def _name_is_free(backend: Backend) -> None:
    assert await backend.hold("n", "a", 1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await backend.hold("n", "b", 60):
            await asyncio.sleep(0.01)
    assert not await backend.hold("n", "a", 60)


@not_over_deployments("backend")
async def test_windows_claims_and_names_end_after_their_time(backend: Backend) -> None:
    async with asyncio.TaskGroup() as group:  # as each takes a second
        group.create_task(_count_starts_over_after_the_window(backend))
        group.create_task(_windows_of_one_name_are_independent(backend))
        group.create_task(_claim_ends(backend))
        group.create_task(_name_is_free(backend))


@pytest.mark.parametrize("other", ["N", "n ", "", "n\0", "60:n", "\u00e9", "\udcff", "{n}", "*", "x" * 5_000])
async def test_names_and_windows_have_separate_counters(backend: Backend, other: str) -> None:
    await backend.count("n", 60)
    await backend.count("n", 60)
    assert (await backend.count(other, 60)).count == 1
    assert (await backend.count(other, 59)).count == 1
    assert (await backend.count("n", 60)).count == 3


async def test_concurrent_increments_are_all_counted(backend: Backend) -> None:
    counts = await asyncio.gather(*(backend.count("n", 60) for _ in range(200)))
    assert sorted(each.count for each in counts) == list(range(1, 201))


async def test_one_holder_at_a_time_holds_a_name(backend: Backend) -> None:
    assert await backend.hold("n", "a", 60)
    assert await backend.hold("n", "a", 60)
    assert not await backend.hold("n", "b", 60)
    assert not await backend.hold("n", "b", 0)
    assert await backend.hold("other", "b", 60)
    assert await backend.hold("n", "a", 0)
    assert await backend.hold("n", "b", 60)
    assert not await backend.hold("n", "a", 0)


async def test_only_one_of_many_gets_a_name(backend: Backend) -> None:
    got = await asyncio.gather(*(backend.hold("n", str(holder), 60) for holder in range(50)))
    assert got.count(True) == 1


async def test_name_is_claimed_once(backend: Backend) -> None:
    assert await backend.claim("n", b"a", 60) == b"a"
    assert await backend.claim("n", b"a", 60) == b"a"
    assert await backend.claim("n", b"b", 60) == b"a"
    assert await backend.claim("other", b"\0\xff", 60) == b"\0\xff"


async def test_one_of_many_claims_counts(backend: Backend) -> None:
    values = [str(number).encode() for number in range(50)]
    stored = set(await asyncio.gather(*(backend.claim("n", value, 60) for value in values)))
    assert len(stored) == 1
    assert stored <= set(values)


async def test_claim_is_replaced_by_those_who_know_its_value(backend: Backend) -> None:
    assert await backend.claim("n", b"a", 60, b"b") == b"a"
    assert await backend.claim("n", b"b", 60, b"c") == b"a"
    assert await backend.claim("n", b"b", 60, b"a") == b"b"
    assert await backend.claim("n", b"c", 60, b"a") == b"b"


async def test_secret_does_not_change(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, *again = [await backend.secret() for _ in range(5)]
    assert type(secret) is bytes
    assert len(secret) == SECRET_BYTES == 32
    assert set(again) == {secret}
    for form in (repr(secret), secret.hex()):
        assert form not in caplog.text


async def test_another_service_has_another_secret(backend: Backend, unbounded: Backend) -> None:
    assert await backend.secret() != await unbounded.secret()
