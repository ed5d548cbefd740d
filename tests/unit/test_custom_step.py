"""The step in progress of a loop of the user's own, told what happened and when: without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgpu_tui.agent.steps import custom_step
from tfgpu_tui.agent.steps.custom_step import TRANSITIONS, Counts, Done, State, Step, What

STEP, OTHER, OPTIMIZER, SECOND = (type(name, (), {})() for name in ("step", "other", "optimizer", "second"))


class Loop:
    """A thread's calls in order: each moves the clock on, and tells the step."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[Done] = []
        self.step = Step(self.done.append)

    def pause(self, seconds: float = 1.0) -> Loop:
        self.now += seconds
        return self

    def batch(self, seconds: float = 1.0, others: float = 0.0) -> Loop:
        self.step.next_asked(self.now)
        start = self.now
        self.pause(seconds)
        self.step.batch_arrived(start, self.now, others)
        return self

    def function(self, key: Any = STEP, seconds: float = 1.0, trains: bool = True, wait: float = 0.0) -> Loop:
        start = self.now
        self.step.function_begins(key, start)
        self.pause(seconds)
        self.step.function_ended(start, self.now, wait)
        if trains:
            self.step.function_trained(key, self.now, 1, "custom")
        return self

    def tape(self) -> Loop:
        self.step.tape_begins(self.now)
        return self

    def gradient(self, seconds: float = 1.0) -> Loop:
        self.pause(seconds)
        self.step.gradient_taken(self.now)
        return self

    def apply(self, key: Any = OPTIMIZER, seconds: float = 1.0) -> Loop:
        start = self.now
        self.pause(seconds)
        self.step.optimizer_applied(key, start, self.now)
        return self

    def read(self, seconds: float = 1.0) -> Loop:
        self.pause(seconds)
        self.step.result_read(seconds)
        return self

    def parts(self) -> list[tuple[float, float, float]]:
        """Wait, compute and host of each step that ended."""
        return [(d.wait, d.compute, d.wall - d.wait - d.compute) for d in self.done]


def nothing() -> Loop:
    return Loop()


def opened() -> Loop:
    return Loop().batch(2.0)


def trained() -> Loop:
    return Loop().batch(2.0).apply(OPTIMIZER).function(STEP)


IN_STATE: dict[State, Callable[[], Loop]] = {State.NOTHING: nothing, State.OPEN: opened, State.TRAINED: trained}
TELL: dict[What, Callable[[Loop], object]] = {
    What.NEXT_ASKED: lambda loop: loop.step.next_asked(loop.now),
    What.BATCH_ARRIVED: lambda loop: loop.step.batch_arrived(loop.now, loop.now + 1.0),
    What.FUNCTION_BEGINS: lambda loop: loop.step.function_begins(OTHER, loop.now),
    What.SAME_FUNCTION_BEGINS: lambda loop: loop.step.function_begins(STEP, loop.now),
    What.FUNCTION_ENDED: lambda loop: loop.step.function_ended(loop.now, loop.now + 1.0, 0.0),
    What.FUNCTION_TRAINED: lambda loop: loop.step.function_trained(OTHER, loop.now, 1, "custom"),
    What.TAPE_BEGINS: lambda loop: loop.step.tape_begins(loop.now),
    What.GRADIENT_TAKEN: lambda loop: loop.step.gradient_taken(loop.now),
    What.OPTIMIZER_APPLIED: lambda loop: loop.step.optimizer_applied(SECOND, loop.now, loop.now + 1.0),
    What.SAME_OPTIMIZER_APPLIED: lambda loop: loop.step.optimizer_applied(OPTIMIZER, loop.now, loop.now + 1.0),
    What.RESULT_READ: lambda loop: loop.step.result_read(1.0),
    What.NOT_TRAINED: lambda loop: loop.step.not_trained(loop.now),
    What.NEW_PASS: lambda loop: loop.step.new_pass(loop.now),
    What.STALE: lambda loop: loop.step.stale(),
    What.LOOP_SEEN: lambda loop: loop.step.loop_seen(),
    What.THREAD_GONE: lambda loop: loop.step.gone(),
}


@pytest.mark.parametrize(("what", "state"), [(what, state) for what in What for state in TRANSITIONS[what]])
def test_the_table_says_what_becomes_of_the_step(what: What, state: State) -> None:
    loop = IN_STATE[state]()
    loop.pause()
    assert loop.step.state is state and loop.done == []
    TELL[what](loop)
    counts, becomes = TRANSITIONS[what][state]
    assert len(loop.done) == (counts is not Counts.NONE)
    assert loop.step.state is becomes
    assert (loop.step.base is None) == (loop.step.state is State.NOTHING)
    assert (loop.step.ended is None) == (loop.step.state is not State.TRAINED)


def test_all_that_may_happen_is_in_the_table_and_what_is_missing_in_a_row_cannot() -> None:
    assert set(TRANSITIONS) == set(What) == set(TELL)
    missing = {(what, state) for what in What for state in State if state not in TRANSITIONS[what]}
    only_after_training = {
        (what, state)
        for what in (What.SAME_FUNCTION_BEGINS, What.SAME_OPTIMIZER_APPLIED)
        for state in (State.NOTHING, State.OPEN)
    }
    assert missing == only_after_training | {
        (What.NOT_TRAINED, State.NOTHING),
        (What.NOT_TRAINED, State.TRAINED),
        (What.FUNCTION_TRAINED, State.NOTHING),  # it is told after FUNCTION_ENDED
    }
    source = Path(custom_step.__file__).read_text()
    told = set(re.findall(r"_happens\(\s*What\.(\w+)", source)) | set(re.findall(r" else What\.(\w+)\)", source))
    assert told == {what.name for what in What}, "each row is used by the code"


def test_a_step_goes_from_the_end_of_the_one_before_to_the_end_of_what_trained() -> None:
    loop = Loop()
    for _ in range(3):
        loop.batch(2.0).pause(1.0).function(seconds=4.0).pause(0.5)
    loop.batch()
    assert [d.wall for d in loop.done] == [7.0, 7.5, 7.5]
    assert loop.parts() == [(2.0, 4.0, 1.0), (2.0, 4.0, 1.5), (2.0, 4.0, 1.5)]
    assert {(d.steps, d.label) for d in loop.done} == {(1, "custom")}


def test_a_wait_for_other_workers_within_the_call_for_a_batch_is_compute() -> None:
    loop = Loop().batch(5.0, others=3.0).function(seconds=4.0)
    loop.batch(5.0, others=3.0).tape().apply(seconds=2.0)
    loop.step.gone()
    assert loop.parts() == [(2.0, 7.0, 0.0), (2.0, 5.0, 0.0)]


def test_what_a_function_waits_for_its_own_batches_is_wait() -> None:
    loop = Loop().function(seconds=4.0, wait=3.0).function(seconds=4.0, wait=1.0)
    loop.step.gone()
    assert loop.parts() == [(3.0, 1.0, 0.0), (1.0, 3.0, 0.0)]


def test_two_functions_that_train_on_one_batch_are_one_step() -> None:
    loop = Loop().batch().function(STEP).function(OTHER).batch().function(STEP).function(OTHER).batch()
    assert loop.parts() == [(1.0, 2.0, 0.0)] * 2


def test_without_batches_a_step_begins_with_the_same_function() -> None:
    loop = Loop()
    for _ in range(3):
        loop.function(STEP).pause(0.25).function(OTHER).pause(0.5)
    loop.step.gone()
    assert loop.parts() == [(0.0, 2.0, 0.25), (0.0, 2.0, 0.75), (0.0, 2.0, 0.75)]


def test_eager_code_computes_from_the_tape_to_the_optimizer() -> None:
    loop = Loop()
    for _ in range(2):
        loop.batch(2.0).pause(0.5).tape().gradient(3.0).apply(seconds=1.0).pause(0.25)
    loop.batch()
    assert loop.parts() == [(2.0, 4.0, 0.5), (2.0, 4.0, 0.75)]
    assert {d.label for d in loop.done} == {"eager"}


def test_an_eager_loop_over_arrays_has_its_optimizer_in_the_step() -> None:
    loop = Loop()
    for _ in range(3):
        loop.pause(0.5).tape().gradient(3.0).apply(seconds=1.5)
    assert len(loop.done) == 2, "the last one may go on"
    loop.step.stale()
    assert loop.parts() == [(0.0, 4.5, 0.0), (0.0, 4.5, 0.5), (0.0, 4.5, 0.5)]


def test_a_look_between_tape_and_gradient_loses_nothing() -> None:
    loop = Loop().tape().gradient().apply().pause(0.5).tape()
    loop.step.stale()
    loop.gradient(3.0).apply()
    loop.step.gone()
    assert loop.parts() == [(0.0, 2.0, 0.0), (0.0, 4.0, 0.5)]


def test_two_optimizers_take_turns_on_arrays() -> None:
    loop = Loop()
    for _ in range(3):
        loop.tape().gradient().apply(OPTIMIZER).pause(0.25).tape().gradient().apply(SECOND).pause(0.5)
    loop.step.gone()
    # What lies between two tapes of one step is in the eager part of it.
    assert loop.parts() == [(0.0, 4.25, 0.0), (0.0, 4.25, 0.5), (0.0, 4.25, 0.5)]


def test_a_gradient_without_an_optimizer_ends_a_step() -> None:
    loop = Loop().batch().tape().gradient(2.0).pause(0.5).batch()
    assert loop.parts() == [(1.0, 2.0, 0.0)]


def test_the_optimizer_of_gradients_from_a_function() -> None:
    loop = Loop()
    for _ in range(2):
        loop.batch().pause(0.5).function(trains=True).apply()
    loop.batch()
    assert loop.parts() == [(1.0, 2.0, 0.5)] * 2
    assert {d.label for d in loop.done} == {"custom"}


def test_an_optimizer_alone_is_a_step_from_its_own_begin() -> None:
    loop = Loop().apply(seconds=2.0).apply(seconds=2.0)
    loop.step.gone()
    assert loop.parts() == [(0.0, 2.0, 0.0)] * 2


def test_waiting_for_a_result_is_compute_of_the_step_that_it_delays() -> None:
    loop = Loop().batch().function().read(0.5).batch().function().batch()
    assert loop.parts() == [(1.0, 1.0, 0.0), (1.0, 1.5, 0.0)]


def test_a_result_that_is_read_within_the_tape_counts_once() -> None:
    loop = Loop().batch().tape().read(2.0).gradient(1.0).apply().batch()
    assert loop.parts() == [(1.0, 4.0, 0.0)]


def test_a_function_within_the_tape_counts_once() -> None:
    loop = Loop().batch().tape().function(OTHER, 2.0, trains=False, wait=0.5).gradient(1.0).apply().batch()
    assert loop.parts() == [(1.5, 3.5, 0.0)]


def test_batches_that_trained_nothing_may_belong_to_the_step_after_them() -> None:
    loop = Loop().batch().function(OTHER, trains=False).pause(0.5)
    found = loop.step.not_trained(loop.now)
    assert found == (2.5, 1.0, 1.0)
    loop.batch().function(STEP)
    loop.step.next_asked(loop.now)
    assert loop.parts() == [(1.0, 1.0, 0.0)]
    loop = Loop().batch()
    found = loop.step.not_trained(loop.now)
    loop.batch()
    loop.step.belongs_too(*found)
    loop.tape().gradient().apply()
    loop.step.gone()
    assert loop.parts() == [(2.0, 2.0, 0.0)]


def test_the_time_before_a_new_pass_belongs_to_no_step() -> None:
    loop = Loop().batch().function().pause(50.0)
    loop.step.new_pass(loop.now)
    loop.batch().function().batch()
    assert [d.wall for d in loop.done] == [2.0, 2.0]


def test_a_long_function_is_told_in_parts() -> None:
    loop = Loop().function(OTHER)
    loop.step.function_begins(STEP, loop.now)
    for _ in range(2):
        start = loop.now
        loop.pause(10.0)
        loop.step.part_told(STEP, start, loop.now, 4.0, 5, "custom")
    start = loop.now
    loop.pause(2.0)
    loop.step.function_ended(start, loop.now, 0.0)
    loop.step.function_trained(STEP, loop.now, 1, "custom")
    loop.step.gone()
    assert [d.steps for d in loop.done] == [1, 5, 5, 1]
    assert loop.parts() == [(0.0, 1.0, 0.0), (4.0, 6.0, 0.0), (4.0, 6.0, 0.0), (0.0, 2.0, 0.0)]


def test_a_step_before_a_function_with_a_loop_is_a_step_of_its_own() -> None:
    loop = Loop().batch().function(STEP).pause(0.5)
    start = loop.now
    loop.step.function_begins(OTHER, start)
    loop.pause(8.0).step.loop_seen()
    loop.step.function_ended(start, loop.now, 3.0)
    loop.step.function_trained(OTHER, loop.now, 4, "custom")
    loop.step.gone()
    assert [d.steps for d in loop.done] == [1, 4]
    assert loop.parts() == [(1.0, 1.0, 0.0), (3.0, 5.0, 0.5)]


def test_after_the_thread_is_gone_no_time_runs() -> None:
    loop = Loop().batch().function()
    loop.step.gone()
    loop.step.gone()
    assert len(loop.done) == 1 and loop.step.base is None
    loop.pause(100.0).function()
    loop.step.gone()
    assert [d.wall for d in loop.done] == [2.0, 1.0]


# -- whatever a script does, in any order


SHORT = st.integers(1, 64).map(lambda n: n / 64)  # sums of such seconds are exact


class Truth:
    """What a loop did, by its own clock, beside what the step says."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.wait = self.compute = 0.0
        self.after = 0.0
        """Of the compute, what came after the last thing that trained: the next step's."""


Turn = Callable[[Truth, Iterator[float]], None]


def graph(truth: Truth, seconds: Iterator[float]) -> None:
    wait, pause, compute = next(seconds), next(seconds), next(seconds)
    truth.loop.batch(wait).pause(pause).function(STEP, compute)
    truth.wait += wait
    truth.compute += compute


def eager(truth: Truth, seconds: Iterator[float]) -> None:
    wait, pause, forward, update = next(seconds), next(seconds), next(seconds), next(seconds)
    truth.loop.batch(wait).pause(pause).tape().gradient(forward).apply(OPTIMIZER, update)
    truth.wait += wait
    truth.compute += forward + update


def eager_twice(truth: Truth, seconds: Iterator[float]) -> None:
    eager(truth, seconds)
    forward, update = next(seconds), next(seconds)
    truth.loop.tape().gradient(forward).apply(SECOND, update)
    truth.compute += forward + update


def half_eager(truth: Truth, seconds: Iterator[float]) -> None:
    wait, gradients, update = next(seconds), next(seconds), next(seconds)
    truth.loop.batch(wait).function(STEP, gradients).apply(OPTIMIZER, update)
    truth.wait += wait
    truth.compute += gradients + update


def graph_on_arrays(truth: Truth, seconds: Iterator[float]) -> None:
    pause, compute, forward = next(seconds), next(seconds), next(seconds)
    truth.loop.pause(pause).function(STEP, compute).function(OTHER, forward, trains=False)
    truth.compute += compute + forward
    truth.after = forward


def eager_on_arrays(truth: Truth, seconds: Iterator[float]) -> None:
    pause, forward, update, read = next(seconds), next(seconds), next(seconds), next(seconds)
    truth.loop.pause(pause).tape().gradient(forward).apply(OPTIMIZER, update).read(read)
    truth.compute += forward + update + read
    truth.after = read


KINDS: list[Turn] = [graph, eager, eager_twice, half_eager, graph_on_arrays, eager_on_arrays]


@given(
    kind=st.sampled_from(KINDS),
    seconds=st.lists(SHORT, min_size=6 * 12, max_size=6 * 12),
    looks=st.lists(st.booleans(), min_size=1, max_size=12),
)
def test_no_step_and_no_time_is_lost_or_counted_twice(kind: Turn, seconds: list[float], looks: list[bool]) -> None:
    truth, given_s = Truth(), iter(seconds)
    began = truth.loop.now
    for look in looks:
        kind(truth, given_s)
        if look:
            truth.loop.step.stale()
    ended = truth.loop.step.ended or truth.loop.done[-1].end
    truth.loop.step.gone()
    done = truth.loop.done
    assert sum(d.steps for d in done) == len(done) == len(looks)
    first = done[0].end - done[0].wall
    assert sum(d.wall for d in done) == ended - first == done[-1].end - first
    assert first >= began
    for step, before in zip(done[1:], done[:-1], strict=True):
        assert step.end - step.wall == before.end, "from end to end"
    assert sum(d.wait for d in done) == truth.wait
    assert sum(d.compute for d in done) == truth.compute - truth.after


SOMETHING: dict[str, Callable[[Loop, float], object]] = {
    "batch": lambda loop, s: loop.batch(s),
    "step": lambda loop, s: loop.function(STEP, s, wait=s / 2),
    "other": lambda loop, s: loop.function(OTHER, s),
    "tests": lambda loop, s: loop.function(OTHER, s, trains=False),
    "tape": lambda loop, s: loop.tape(),
    "gradient": lambda loop, s: loop.gradient(s),
    "apply": lambda loop, s: loop.apply(OPTIMIZER, s),
    "second": lambda loop, s: loop.apply(SECOND, s),
    "read": lambda loop, s: loop.read(s),
    "pause": lambda loop, s: loop.pause(s),
    "stale": lambda loop, s: loop.step.stale(),
    "gone": lambda loop, s: loop.step.gone(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(SOMETHING)), SHORT), max_size=80))
def test_whatever_happens_the_parts_of_each_step_add_up(happenings: list[tuple[str, float]]) -> None:
    loop = Loop()
    trainings = 0
    for what, seconds in happenings:
        SOMETHING[what](loop, seconds)
        trainings += what in ("step", "other", "gradient", "apply", "second")
        assert len(loop.done) + (loop.step.state is State.TRAINED) <= trainings
    loop.step.gone()
    end = 0.0
    for step in loop.done:
        assert step.wait >= 0.0 and step.compute >= 0.0 and step.wait + step.compute <= step.wall
        assert step.end - step.wall >= end, "no time is in two steps"
        end = step.end
    assert bool(loop.done) == bool(trainings)
