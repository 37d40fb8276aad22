"""The stored events of a run in memory, against a plain list of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.backends.memory.window import Window
from dockrion.backends.pages import PAGE_BYTES, PAGE_EVENTS
from dockrion.events import Entry

SIZES = [0, 1, 200, 5_000, PAGE_BYTES // 2, PAGE_BYTES, 3 * PAGE_BYTES]


def entries(first: int, sizes: list[int]) -> list[Entry]:
    """Return consecutive events with data of these sizes."""
    return [
        Entry(n, "token", b"%d" % n + b" " * size, 1_000.5 + n) for n, size in enumerate(sizes, start=first)
    ]


def read_all(window: Window, after: int, limit: int) -> list[Entry]:
    found: list[Entry] = []
    while page := window.read(after, limit):
        assert len(page) <= limit
        assert [entry.sequence for entry in page] == list(
            range(page[0].sequence, page[0].sequence + len(page))
        )
        assert sum(len(entry.data) for entry in page[:-1]) < PAGE_BYTES
        found.extend(page)
        after = page[-1].sequence
    return found


batches = st.lists(
    st.one_of(
        st.lists(st.sampled_from(SIZES), min_size=1, max_size=6),
        st.integers(1, 3 * PAGE_EVENTS).map(lambda number: [7] * number),
    ),
    min_size=1,
    max_size=6,
)


@given(
    batches,
    st.sampled_from([1, 3, 10, 600, 10_000]),
    st.integers(0, 3_000),
    st.sampled_from([1, 7, 512]),
    st.booleans(),
)
def test_window_shows_the_newest_events(
    batches: list[list[int]], max_events: int, after: int, limit: int, packed: bool
) -> None:
    window, stored = Window(max_events), list[Entry]()
    for sizes in batches:
        batch = entries(len(stored) + 1, sizes)
        window.extend(batch)
        stored.extend(batch)
    if packed:
        window.pack()
    if limit == 1:
        after = max(after, len(stored) - 20)
    assert read_all(window, after, limit) == [
        entry for entry in stored[-max_events:] if entry.sequence > after
    ]


@given(batches, st.sampled_from([3, 10, 10_000]), st.integers(1, 2_000))
def test_page_does_not_span_a_gap(batches: list[list[int]], max_events: int, gap: int) -> None:
    window, stored = Window(max_events), list[Entry]()
    for sizes in batches:
        batch = entries(len(stored) + 1, sizes)
        window.extend(batch)
        stored.extend(batch)
    last = entries(len(stored) + gap + 1, [5])
    window.extend(last)
    window.pack()
    shown = [*stored, *last][-max_events:]
    assert read_all(window, 0, 512) == shown
    assert window.read(len(stored), 512) == last
    assert window.read(len(stored) + gap, 512) == last


@given(batches, st.booleans(), st.integers(0, 30))
def test_oldest_events_are_dropped_and_the_newest_stays(
    batches: list[list[int]], packed: bool, times: int
) -> None:
    window, stored = Window(10_000), list[Entry]()
    for sizes in batches:
        batch = entries(len(stored) + 1, sizes)
        window.extend(batch)
        stored.extend(batch)
    if packed:
        window.pack()
    for _ in range(times):
        before = window.weight
        number = window.drop_oldest()
        assert number < len(stored)
        assert window.weight < before + 200 if number else window.weight == before
        stored = stored[number:]
        assert read_all(window, 0, 512) == stored
    while window.drop_oldest():
        pass
    assert read_all(window, 0, 512) == stored[-1:]


@given(batches, st.sampled_from([1, 10, 600]), st.booleans())
def test_weight_is_that_of_what_is_stored(batches: list[list[int]], max_events: int, packed: bool) -> None:
    window, last = Window(max_events), 0
    for sizes in batches:
        window.extend(entries(last + 1, sizes))
        last += len(sizes)
    if packed:
        window.pack()
    held = sum(len(chunk.stored) if isinstance(chunk.stored, bytes) else 0 for chunk in window._chunks)
    listed = [entry for chunk in window._chunks if isinstance(chunk.stored, list) for entry in chunk.stored]
    plain = sum(len(entry.data) for entry in (*listed, *window._tail))
    number = len(listed) + len(window._tail)
    assert held + plain <= window.weight <= held + plain + 200 * (number + len(window._chunks))
    if packed:
        assert not window._tail
        assert sum(len(chunk) for chunk in window._chunks) == min(last, max_events)


@pytest.mark.parametrize("size", [0, 200])
def test_small_events_are_packed(size: int) -> None:
    window = Window(10_000)
    window.extend(entries(1, [size] * 1_000))
    loose = window.weight
    window.pack()
    assert window.weight < loose - 1_000 * 140


def test_large_events_are_not_copied() -> None:
    window = Window(10_000)
    (large,) = entries(1, [10_000_000])
    window.extend([large])
    window.pack()
    assert window.read(0, 1)[0] is large


def test_small_window_of_large_events_takes_little_more_than_they() -> None:
    window = Window(10)
    for n in range(1, 200):
        window.extend(entries(n, [100_000]))
    assert window.weight < 12 * 100_000
    assert [entry.sequence for entry in read_all(window, 0, 1)] == list(range(190, 200))
