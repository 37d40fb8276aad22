"""Who may work: first come, first served, and every slot comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.errors import TooManyRuns
from dockrion.runs.in_flight import Slot, Slots


def given_out(slots: Slots) -> list[Slot]:
    """Reserve until the queue is full."""
    reserved = []
    while True:
        try:
            reserved.append(slots.reserve())
        except TooManyRuns:
            return reserved


async def test_so_many_work_at_once_and_so_many_wait() -> None:
    reserved = given_out(Slots(3, 2))
    assert [slot.done() for slot in reserved] == [True] * 3 + [False] * 2


async def test_without_a_queue_nobody_waits() -> None:
    assert [slot.done() for slot in given_out(Slots(2, 0))] == [True, True]


async def test_a_full_queue_refuses_and_says_how_many_wait() -> None:
    slots = Slots(1, 2)
    given_out(slots)
    with pytest.raises(TooManyRuns, match="2 runs are waiting"):
        slots.reserve()


async def test_who_came_first_is_served_first() -> None:
    slots = Slots(1, 3)
    working, *waiting = given_out(slots)
    for nth, slot in enumerate(waiting):
        slots.release(working)
        assert [other.done() for other in waiting] == [n <= nth for n in range(3)]
        working = slot


async def test_a_slot_handed_over_is_not_free() -> None:
    slots = Slots(1, 1)
    first, second = given_out(slots)
    slots.release(first)
    third = slots.reserve()
    assert second.done()
    assert not third.done()


async def test_who_gives_up_waiting_makes_room_in_the_queue() -> None:
    slots = Slots(1, 2)
    first, second, third = given_out(slots)
    slots.release(second)
    fourth = slots.reserve()
    assert second.cancelled()
    slots.release(first)
    assert third.done()
    assert not fourth.done()


async def test_a_slot_that_was_handed_over_and_not_yet_noticed_can_be_given_back() -> None:
    slots = Slots(1, 2)
    first, second, third = given_out(slots)
    slots.release(first)
    slots.release(second)
    assert third.done()
    assert not third.cancelled()


async def test_when_all_are_released_all_slots_are_there_again() -> None:
    slots = Slots(2, 3)
    for order in (1, -1):
        for slot in given_out(slots)[::order]:
            slots.release(slot)
        reserved = given_out(slots)
        assert [slot.done() for slot in reserved] == [True] * 2 + [False] * 3
        for slot in reserved:
            slots.release(slot)


@settings(max_examples=100, deadline=None)
@given(
    free=st.integers(1, 4),
    queue=st.integers(0, 4),
    moves=st.lists(st.none() | st.integers(0, 10), max_size=60),
)
async def test_at_every_moment_no_slot_is_lost_and_nobody_waits_beside_a_free_one(
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
        assert working == sorted(working, reverse=True), "somebody was overtaken"
        assert sum(working) == min(free, len(held))
