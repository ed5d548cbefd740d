"""The fast lane of a loop whose steps repeat, without TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tfgpu_tui.agent.steps import custom_lane, fast, input_wait


class OutOfRangeError(Exception):
    """As TensorFlow's own is named."""


class Batches:
    """Stands in for an `OwnedIterator`."""

    left = 100

    def _next_internal(self) -> int:
        if not self.left:
            raise OutOfRangeError
        self.left -= 1
        return self.left


class Function:
    """Stands in for a tf.function; `call` does what the wrapper of its `__call__` does."""

    def call(self) -> None:
        noted = fast.lanes[threading.get_ident()](id(self))
        assert noted is not None
        function, place, note, wanted, look = noted
        assert function() is self
        note((place, 1.0, 2.0))
        if wanted:
            look()


looked: list[custom_lane.Lane] = []


@pytest.fixture
def lane() -> Iterator[tuple[custom_lane.Lane, Batches, Function]]:
    batches, function = Batches(), Function()
    made = custom_lane.Lane([batches, function], [True, False], [0.0, 0.1, 0.2, 0.3], looked.append)
    yield made, batches, function
    made.close()
    looked.clear()
    assert threading.get_ident() not in fast.lanes


def test_steps_are_handed_over_once_and_the_last_one_stays_open(
    lane: tuple[custom_lane.Lane, Batches, Function],
) -> None:
    made, batches, function = lane
    for _ in range(9):
        batches._next_internal()
        function.call()
    assert made.hand_over("clocks") == 10 and made.hand_over("later") == 0
    assert [reading for _, reading in made.readings] == ["clocks"]
    made.handed += made.readings.popleft()[0]
    assert made.steps() == 9 and not made.mixed()
    assert len(made.take(9 * 2)) == 9 * 2 * custom_lane.NOTE
    assert made.steps() == 0 and len(made.handed) == 2 * custom_lane.NOTE


def test_another_order_is_noticed_and_what_was_before_it_is_whole(
    lane: tuple[custom_lane.Lane, Batches, Function],
) -> None:
    made, batches, function = lane
    for _ in range(4):
        batches._next_internal()
        function.call()
    batches._next_internal()
    batches._next_internal()
    function.call()
    made.hand_over(None)
    made.handed += made.readings.popleft()[0]
    assert made.mixed() and made.steps() == 4


def test_a_look_runs_after_the_function_and_only_when_it_is_wanted(
    lane: tuple[custom_lane.Lane, Batches, Function],
) -> None:
    made, _, function = lane
    function.call()
    assert not looked
    made.wanted.add("due")
    function.call()
    assert looked == [made]


def test_the_end_of_the_data_is_told(lane: tuple[custom_lane.Lane, Batches, Function]) -> None:
    _, batches, _ = lane
    ended: list[Batches] = []
    input_wait.ends.append(ended.append)
    try:
        batches.left = 0
        with pytest.raises(OutOfRangeError):
            batches._next_internal()
    finally:
        input_wait.ends.remove(ended.append)
    assert ended == [batches]
