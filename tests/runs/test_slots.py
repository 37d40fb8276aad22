"""Who may work: first come, first served, and every place comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.errors import TooManyRuns
from dockrion.runs.slots import Place, Places


def given_out(places: Places) -> list[Place]:
    """Reserve until the queue is full."""
    reserved = []
    while True:
        try:
            reserved.append(places.reserve())
        except TooManyRuns:
            return reserved


async def test_so_many_work_at_once_and_so_many_wait() -> None:
    reserved = given_out(Places(3, 2))
    assert [place.done() for place in reserved] == [True] * 3 + [False] * 2


async def test_without_a_queue_nobody_waits() -> None:
    assert [place.done() for place in given_out(Places(2, 0))] == [True, True]


async def test_a_full_queue_refuses_and_says_how_many_wait() -> None:
    places = Places(1, 2)
    given_out(places)
    with pytest.raises(TooManyRuns, match="2 runs are waiting"):
        places.reserve()


async def test_who_came_first_is_served_first() -> None:
    places = Places(1, 3)
    working, *waiting = given_out(places)
    for nth, place in enumerate(waiting):
        places.release(working)
        assert [other.done() for other in waiting] == [n <= nth for n in range(3)]
        working = place


async def test_a_place_handed_over_is_not_free() -> None:
    places = Places(1, 1)
    first, second = given_out(places)
    places.release(first)
    third = places.reserve()
    assert second.done()
    assert not third.done()


async def test_who_gives_up_waiting_makes_room_in_the_queue() -> None:
    places = Places(1, 2)
    first, second, third = given_out(places)
    places.release(second)
    fourth = places.reserve()
    assert second.cancelled()
    places.release(first)
    assert third.done()
    assert not fourth.done()


async def test_a_place_that_was_handed_over_and_not_yet_noticed_can_be_given_back() -> None:
    places = Places(1, 2)
    first, second, third = given_out(places)
    places.release(first)
    places.release(second)
    assert third.done()
    assert not third.cancelled()


async def test_when_all_are_released_all_places_are_there_again() -> None:
    places = Places(2, 3)
    for order in (1, -1):
        for place in given_out(places)[::order]:
            places.release(place)
        reserved = given_out(places)
        assert [place.done() for place in reserved] == [True] * 2 + [False] * 3
        for place in reserved:
            places.release(place)


@settings(max_examples=100, deadline=None)
@given(
    free=st.integers(1, 4),
    queue=st.integers(0, 4),
    moves=st.lists(st.none() | st.integers(0, 10), max_size=60),
)
async def test_at_every_moment_no_place_is_lost_and_nobody_waits_beside_a_free_one(
    free: int, queue: int, moves: list[int | None]
) -> None:
    places, held = Places(free, queue), list[Place]()
    for move in moves:
        if move is None:
            if len(held) == free + queue:
                with pytest.raises(TooManyRuns):
                    places.reserve()
            else:
                held.append(places.reserve())
        elif held:
            places.release(held.pop(move % len(held)))
        working = [place.done() for place in held]
        assert working == sorted(working, reverse=True), "somebody was overtaken"
        assert sum(working) == min(free, len(held))
