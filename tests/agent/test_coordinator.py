"""What a coordinator schedules, summed to steps, without TensorFlow."""

from __future__ import annotations

from typing import Any

import pytest

from tfgpu_tui.agent.steps import coordinator, windows


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(windows, "send", lambda kind, **fields: sent.append(fields))
    return sent


def test_a_steps_time_is_that_in_which_any_ran_by_those_that_ended(told: list[dict[str, Any]]) -> None:
    scheduled, now = coordinator.Scheduled(), 1000.0
    for _ in range(20):  # two workers, each 30 ms a step, that end one right after the other
        scheduled.begins(now)
        scheduled.begins(now + 0.001)
        scheduled.ends(now + 0.030, done=True)
        scheduled.ends(now + 0.031, done=True)
        now += 0.5  # nothing runs: no step's time
    scheduled.emit(now, last=True)
    assert sum(e["steps"] for e in told) == 40
    assert sum(e["wall_s"] for e in told) == pytest.approx(20 * 0.031)
    assert {(e["wait_s"], e["compute_s"], e["wait_bound"]) for e in told} == {(None, None, coordinator.NOT_SEEN)}
    steady = [e for e in told if not e["warmup"]]
    assert max(e["step_max_s"] for e in steady) < 2 * min(e["step_min_s"] for e in steady), "the bursts are no steps"


def test_what_fails_is_no_step_and_what_goes_on_is_told(told: list[dict[str, Any]]) -> None:
    scheduled, now = coordinator.Scheduled(), 1000.0
    scheduled.begins(now)
    scheduled.ends(now + 9.0, done=False)
    scheduled.begins(now + 10.0)
    scheduled.ends(now + 10.1, done=True)
    scheduled.emit(now + 10.2)
    assert told == [], "within a window"
    scheduled.emit(now + 12.0)
    assert [(e["steps"], round(e["wall_s"], 3)) for e in told] == [(1, 0.1)]
