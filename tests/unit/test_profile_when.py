"""When the agent looks inside the step by itself: late enough, rarely enough, and only where it is worth it."""

from __future__ import annotations

import pytest

from tfgpu_tui.agent.placement.profile_when import FIRST_AFTER_S, SHARE, Now, Plan


class Training:
    """A training whose steps the plan hears of."""

    def __init__(self, step_s: float = 0.01, compute: float = 0.9) -> None:
        self.plan, self.step_s, self.compute = Plan(), step_s, compute
        self.now = Now(0, 0.0, 0.0)
        self.looks: list[float] = []

    def run(self, seconds: float, cost_s: float = 0.1, ops: int = 300, gpu: bool = False) -> None:
        until_s = self.now.wall_s + seconds
        while self.now.wall_s < until_s:
            steps = max(1, round(0.5 / self.step_s))
            wall_s = steps * self.step_s
            self.now = Now(self.now.steps + steps, self.now.wall_s + wall_s, self.now.compute_s + self.compute * wall_s)
            self.plan.note(self.now)
            if self.plan.due(4 * self.step_s, 4, ops, gpu):
                self.looks.append(self.now.wall_s)
                self.plan.looked(cost_s)


def test_once_after_the_warm_up_and_never_again_while_the_speed_stays() -> None:
    training = Training()
    training.run(3600)
    (at_s,) = training.looks
    assert at_s >= FIRST_AFTER_S


@pytest.mark.parametrize("cost_s", [0.02, 0.1, 1.0, 5.0])
def test_the_looks_stay_within_their_share_of_the_time(cost_s: float) -> None:
    training = Training()
    training.run(600, cost_s)
    for step_s in (0.05, 0.01, 0.1, 0.02, 0.2):
        training.step_s = step_s
        training.run(600, cost_s)
    assert len(training.looks) >= 2
    # What the first one really costs is not known before it.
    for at_s in training.looks[1:]:
        assert (training.looks.index(at_s) + 1) * cost_s <= SHARE * at_s


def test_again_after_a_change_of_speed_that_lasts() -> None:
    training = Training()
    training.run(300)
    training.step_s = 0.03
    training.run(10)
    training.step_s = 0.01
    training.run(300)
    assert len(training.looks) == 1, "ten slow seconds are none"
    training.step_s = 0.03
    training.run(300)
    assert len(training.looks) == 2


def test_a_short_run_gets_none_nor_one_that_waits_for_its_input() -> None:
    short = Training()
    short.run(9)
    assert short.looks == []
    waits = Training(compute=0.3)
    waits.run(600)
    assert waits.looks == []


def test_a_large_graph_or_a_gpu_is_looked_at_later() -> None:
    small, large, on_gpu = Training(), Training(), Training()
    small.run(1000)
    large.run(1000, ops=10_000)
    on_gpu.run(1000, gpu=True)
    assert small.looks[0] < on_gpu.looks[0]
    assert small.looks[0] < large.looks[0]


def test_after_one_that_told_nothing_it_waits_twice_as_long() -> None:
    training = Training()
    training.run(60)
    training.plan.failed(0.05)
    training.plan._speed_s = None
    assert not training.plan.due(0.04, 4, 300, False)
    training.run(70)
    assert len(training.looks) == 2
