"""Slots for in-flight runs: first come, first served, and none is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.errors import TooManyRuns
from dockrion.runs.in_flight import Slot, Slots


def reserve_all(slots: Slots) -> list[Slot]:
    """Reserve until the queue is full."""
    reserved = []
    while True:
        try:
            reserved.append(slots.reserve())
        except TooManyRuns:
            return reserved


async def test_slots_and_queue_are_bounded() -> None:
    reserved = reserve_all(Slots(3, 2))
    assert [slot.done() for slot in reserved] == [True] * 3 + [False] * 2


async def test_without_a_queue_nobody_waits() -> None:
    assert [slot.done() for slot in reserve_all(Slots(2, 0))] == [True, True]


async def test_a_full_queue_refuses_and_names_its_length() -> None:
    slots = Slots(1, 2)
    reserve_all(slots)
    with pytest.raises(TooManyRuns, match="2 runs are waiting"):
        slots.reserve()


async def test_slots_are_granted_in_the_order_of_arrival() -> None:
    slots = Slots(1, 3)
    working, *waiting = reserve_all(slots)
    for nth, slot in enumerate(waiting):
        slots.release(working)
        assert [other.done() for other in waiting] == [n <= nth for n in range(3)]
        working = slot


async def test_a_slot_that_is_passed_on_is_not_free() -> None:
    slots = Slots(1, 1)
    first, second = reserve_all(slots)
    slots.release(first)
    third = slots.reserve()
    assert second.done()
    assert not third.done()


async def test_leaving_the_queue_makes_room_in_it() -> None:
    slots = Slots(1, 2)
    first, second, third = reserve_all(slots)
    slots.release(second)
    fourth = slots.reserve()
    assert second.cancelled()
    slots.release(first)
    assert third.done()
    assert not fourth.done()


async def test_a_slot_that_was_just_granted_can_be_released() -> None:
    slots = Slots(1, 2)
    first, second, third = reserve_all(slots)
    slots.release(first)
    slots.release(second)
    assert third.done()
    assert not third.cancelled()


async def test_releasing_everything_frees_all_slots() -> None:
    slots = Slots(2, 3)
    for order in (1, -1):
        for slot in reserve_all(slots)[::order]:
            slots.release(slot)
        reserved = reserve_all(slots)
        assert [slot.done() for slot in reserved] == [True] * 2 + [False] * 3
        for slot in reserved:
            slots.release(slot)


@settings(max_examples=100)
@given(
    free=st.integers(1, 4),
    queue=st.integers(0, 4),
    moves=st.lists(st.none() | st.integers(0, 10), max_size=60),
)
async def test_at_every_moment_no_slot_is_lost_and_none_is_free_while_someone_waits(
    free: int, queue: int, moves: list[int | None]
) -> None:
    slots, held = Slots(free, queue), list[Slot]()
    for move in moves:
        if move is None:
            if len(held) == free + queue:
                with pytest.raises(TooManyRuns):
                    slots.reserve()
            else:
                held.append(slots.reserve())
        elif held:
            slots.release(held.pop(move % len(held)))
        working = [slot.done() for slot in held]
        assert working == sorted(working, reverse=True), "a later one was granted first"
        assert sum(working) == min(free, len(held))
