"""Properties of the histogram, and the sums of measurements."""

from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.load.measurements import MAX_EXAMPLES, Histogram, Measurements, Point, Series, total

seconds = st.floats(1e-6, 1e6, allow_nan=False)
any_seconds = st.floats(-10, 1e9, allow_nan=False)


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    made.add_all(values)
    return made


@given(st.lists(any_seconds), st.lists(any_seconds))
def test_merging_equals_measuring_together(one: list[float], other: list[float]) -> None:
    merged = histogram(one)
    merged.merge(histogram(other))
    assert merged == histogram(one + other)


@given(st.lists(any_seconds))
def test_adding_all_at_once_equals_one_by_one(values: list[float]) -> None:
    single = Histogram()
    for value in values:
        single.add(value)
    assert histogram(values) == single


@given(st.lists(seconds, min_size=1), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_have_the_promised_accuracy(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, ceil(share * len(values))) - 1]
    assert histogram(values).quantile(share) == pytest.approx(exact, rel=0.015, abs=1.001e-6)


@given(st.lists(any_seconds))
def test_counts_the_maximum_and_negative_values_are_exact(values: list[float]) -> None:
    made = histogram(values)
    assert made.total == len(values)
    assert made.negative == sum(value < 0 for value in values)
    assert made.highest == max([0.0, *values])
    assert sum(count for _, count in made.distribution()) == len(values)


def test_an_empty_histogram_is_zero() -> None:
    assert Histogram().quantile(0.5) == 0
    assert Histogram().distribution() == []


def test_measurements_add_up_and_survive_encoding() -> None:
    one = Measurements(started=2, ended=1, events=10, seconds=3.0, cpu=0.5, errors={"a": 1}, examples=["x"])
    other = Measurements(started=1, ended=1, events=5, seconds=2.0, cpu=0.7, errors={"a": 2, "b": 1})
    one.between_events.add(0.1)
    other.between_events.add(0.2, 3)
    summed = total([one, other])
    assert (summed.started, summed.ended, summed.events) == (3, 2, 15)
    assert (summed.seconds, summed.cpu) == (3.0, 0.7)
    assert summed.errors == {"a": 3, "b": 1}
    assert summed.between_events.total == 4
    assert msgspec.json.decode(msgspec.json.encode(summed), type=Measurements) == summed
    assert one.errors == {"a": 1}


def test_the_numbers_of_kinds_and_examples_are_bounded() -> None:
    measurements = Measurements()
    for number in range(1000):
        measurements.count_error(f"kind {number}")
        measurements.count_violation(f"kind {number}", "words")
    assert len(measurements.errors) <= 51
    assert sum(measurements.errors.values()) == 1000
    assert len(measurements.examples) == MAX_EXAMPLES


@given(st.lists(st.floats(0.001, 100), max_size=3000))
def test_a_series_is_ordered_and_bounded(steps: list[float]) -> None:
    series, at = Series(), 0.0
    for step in steps:
        at += step
        series.add(Point(at, 1, 1, 1))
    assert len(series.points) <= Series.max_points
    assert [point.seconds for point in series.points] == sorted({point.seconds for point in series.points})
    assert bool(series.points) == bool(steps)
