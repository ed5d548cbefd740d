"""Series keep the truth in fixed memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgpu_tui.core.series import Decimated, Series


def test_a_month_costs_what_an_hour_costs_and_keeps_its_mean() -> None:
    series = Series(capacity=100, bucket_s=0.5)
    total = weight = 0.0
    for i in range(20_000):
        series.add(1e9 + i * 130.0, float(i % 7))
        total, weight = total + i % 7, weight + 1
    assert len(series) <= 100
    assert series.mean() == pytest.approx(total / weight)
    assert series.latest == float(19_999 % 7)
    assert series.highest == 6.0


def test_gaps_stay_unknown() -> None:
    series = Series(bucket_s=1.0)
    series.add(10.0, 5.0)
    series.add(13.0, 7.0)
    assert series.columns(10.0, 14.0, 4) == [5.0, None, None, 7.0]


def test_a_span_fills_every_bucket_that_it_covers() -> None:
    series = Series(bucket_s=1.0)
    series.add_span(10.5, 14.5, 3.0, weight=100)
    assert series.columns(10.0, 15.0, 5) == [3.0] * 5
    assert series.mean() == pytest.approx(3.0)


def test_columns_narrower_than_a_bucket_have_no_holes() -> None:
    series = Series(bucket_s=2.0)
    series.add(10.0, 1.0)
    series.add(12.0, 2.0)
    assert series.columns(10.0, 14.0, 8) == [1.0] * 4 + [2.0] * 4


def test_columns_reach_beyond_what_was_measured() -> None:
    series = Series(bucket_s=1.0)
    assert series.columns(0.0, 4.0, 2) == [None, None]
    series.add(10.0, 1.0, weight=3)
    series.add(11.0, 5.0)
    assert series.columns(4.0, 20.0, 4) == [None, 2.0, None, None]
    assert series.columns(-1e9, 1e9, 2) == [None, 2.0]


def test_highest_of_a_column_is_not_averaged_away() -> None:
    series = Series(bucket_s=1.0)
    for t, value in ((10.0, 1.0), (10.1, 99.0), (11.0, 2.0)):
        series.add(t, value)
    assert series.columns(10.0, 12.0, 1, highest=True) == [99.0]


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_stepped_clock_costs_neither_memory_nor_time(jump: float) -> None:
    series = Series(capacity=50, bucket_s=0.5)
    series.add(1e9, 1.0)
    series.add(1e9 + jump, 2.0)
    series.add(1e9 + jump + 0.5, 3.0)
    assert len(series) <= 3
    assert series.mean() == pytest.approx(2.0)


def test_weights_decide_a_mean() -> None:
    series = Series(bucket_s=1.0)
    series.add(10.0, 1.0, weight=3)
    series.add(10.2, 5.0, weight=1)
    assert series.mean() == pytest.approx(2.0)


def test_decimated_keeps_the_ends_of_a_long_run() -> None:
    samples = Decimated(capacity=64)
    for i in range(10_000):
        samples.add(float(i), float(i))
    assert len(samples.points) < 64
    assert samples.points[0] == (0.0, 0.0)
    assert samples.points[-1][0] > 9_000
    strides = {b[0] - a[0] for a, b in zip(samples.points, samples.points[1:], strict=False)}
    assert len(strides) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.floats(0, 60), st.floats(0, 4), st.floats(-5, 5)),
            st.tuples(
                st.just("ask"), st.sampled_from([0.0, 3.3, -7.0]), st.sampled_from([20.0, 41.7]), st.integers(1, 90)
            ),
        ),
        max_size=40,
    )
)
def test_columns_that_are_asked_for_again_are_as_if_asked_for_once(
    steps: list[tuple[str, float, float, float]],
) -> None:
    series, added = Series(capacity=40), []
    for kind, a, b, c in steps:
        if kind == "add":
            series.add_span(a, a + b, c)
            added.append((a, a + b, c))
            continue
        fresh = Series(capacity=40)
        for span in added:
            fresh.add_span(*span)
        assert series.columns(a, a + b, int(c)) == fresh.columns(a, a + b, int(c))
