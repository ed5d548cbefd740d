"""Sums of steps, without TensorFlow."""

from __future__ import annotations

from typing import Any

import pytest

from tfgpu_tui.agent.steps import windows as steps
from tfgpu_tui.core import events


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The windows that are sent."""
    out: list[dict[str, Any]] = []
    monkeypatch.setattr(steps, "send", lambda kind, **fields: out.append({"type": kind, **fields}))
    monkeypatch.setattr(steps, "_totals", {"train": 0, "test": 0, "predict": 0})
    return out


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 1e-6, 3e-6, 0.00012, 0.001, 0.02, 1.0, 61.7, 4000.0])
def test_the_histogram_is_the_one_of_the_journal(seconds: float) -> None:
    assert steps.bucket(seconds) == events.histogram_bucket(seconds)


def test_an_event_has_the_fields_of_the_journal(sent: list[dict[str, Any]]) -> None:
    windows = steps.Windows("train", "fit", 1)
    windows.add(1, 0.01, 0.008, 0.002, 1.0)
    windows.emit(1.0)
    event = events.from_dict({"t": 0.0, **sent[0]})
    assert isinstance(event, events.Steps)
    assert set(sent[0]) <= {"type", *events.Steps.__dataclass_fields__}


def test_shares_sum_to_the_wall_time_and_every_step_is_counted_once(sent: list[dict[str, Any]]) -> None:
    windows = steps.Windows("train", "fit", 1)
    now = 0.0
    for number in range(200):
        wall = 0.01 + 0.0001 * number
        now += wall
        # A wait that is longer than the call that held it, or negative (the clock was set): both are cut off.
        windows.add(2, wall, 0.009, (-0.5, 0.002, 0.5)[number % 3], now)
    windows.emit(now)
    assert sum(w["steps"] for w in sent) == 400 == steps.total("train")
    for window in sent:
        assert window["wait_s"] + window["compute_s"] + window["host_s"] == pytest.approx(window["wall_s"])
        assert min(window["wait_s"], window["compute_s"], window["host_s"]) >= 0
        assert sum(window["periods"].values()) == window["steps"]
        assert window["step_min_s"] <= window["wall_s"] / window["steps"] <= window["step_max_s"]
    firsts = [w["first_step"] for w in sent]
    assert firsts == [1 + sum(w["steps"] for w in sent[:i]) for i in range(len(sent))]
    assert all(w["wall_s"] >= steps.WINDOW_S for w in sent[1:-1])


def test_the_first_executions_are_a_window_of_their_own(sent: list[dict[str, Any]]) -> None:
    windows = steps.Windows("train", "fit", 1)
    for number in range(20):
        windows.add(1, 0.001, 0.001, 0.0, number / 1000)
    windows.emit(1.0)
    assert [(w["warmup"], w["steps"]) for w in sent] == [
        (True, steps.WARMUP_EXECUTIONS),
        (False, 20 - steps.WARMUP_EXECUTIONS),
    ]


def test_a_step_that_traced_is_a_window_of_its_own(sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    traced = 0
    monkeypatch.setattr(steps, "traces", lambda: traced)
    windows = steps.Windows("train", "fit", 1)
    for number in range(30):
        windows.step_begins()
        if number == 20:
            traced += 3
        windows.add(1, 0.001, 0.001, 0.0, number / 1000)
        traced += number == 25  # between two steps: not of a step
    windows.emit(1.0)
    assert [(w["warmup"], w["steps"], w["traces"]) for w in sent] == [
        (True, 5, 0),
        (False, 15, 0),
        (True, 1, 3),
        (False, 9, 0),
    ]


def test_an_unknown_wait_is_none_and_leaves_the_host_known(sent: list[dict[str, Any]]) -> None:
    windows = steps.Windows("train", "fit", 1)
    windows.add(1, 0.01, 0.008, None, 1.0)
    windows.emit(1.0)
    (window,) = sent
    assert window["wait_s"] is None
    assert window["compute_s"] is None
    assert window["host_s"] == pytest.approx(0.002)


def test_a_slow_step_is_told_at_once(sent: list[dict[str, Any]]) -> None:
    windows = steps.Windows("train", "fit", 1)
    windows.add(1, 3.0, 2.9, 0.1, 3.0)
    assert len(sent) == 1
