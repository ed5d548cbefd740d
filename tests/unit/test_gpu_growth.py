"""What tensors hold on a GPU, by the step and by the training: what is a leak, and what only swings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.journals import T0, start, state_of, steps
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
Curve = Callable[[float], float]
A_SECOND = 20
"""Steps."""


def run(curve: Curve, seconds: int = 90, swing: int = GIB, fit_s: int = 0, **more: Any) -> RunState:
    """A training whose tensors take 2 GiB, `curve(step)` more, and within each step up to `swing` more than that. A new
    fit begins each `fit_s` seconds."""
    dice = random.Random(seconds)
    told: list[ev.Event] = [
        ev.Environment(t=T0, nvidia_devices=1, tf_gpus=[{"device": "GPU:0", "uuid": "GPU-a"}]),
        steps(1.0, 5, 200, warmup=True, traces=2),
    ]
    peak = 0
    for second in range(1, seconds + 1):
        done = second * A_SECOND
        fit = 1 + (second - 1) // fit_s if fit_s else 1
        told.append(steps(1.0 + second, A_SECOND, 50, first_step=done, fit=fit, traces=1 if fit_s else 0))
        floor = 2 * GIB + curve(done)
        current = round(floor + dice.random() * swing)
        peak = max(peak, round(floor + 0.98 * swing), current)
        held = {"device": "GPU:0", "current_bytes": current, "peak_bytes": peak, "limit_bytes": 14 * GIB, **more}
        told.append(ev.TfMemory(t=T0 + 1.1 + second, src="agent", pid=4711, devices=[held]))  # type: ignore[list-item]
    return state_of(start(), told)


def found(state: RunState) -> Finding | None:
    return next((f for f in diagnose(state) if f.id == "memory.gpu_growth"), None)


@pytest.mark.parametrize(("kib", "seconds"), [(64, 600), (512, 60), (512, 600), (2048, 60), (2048, 600)])
def test_a_leak_is_measured_by_the_step(kib: int, seconds: int) -> None:
    finding = found(run(lambda step: kib * KIB * step, seconds, swing=64 * MIB))
    assert finding is not None and finding.severity == "warning"
    assert finding.evidence["kib_per_step"] == pytest.approx(kib, rel=0.25)
    assert any("full after" in line for line in finding.lines)


@pytest.mark.parametrize("swing", [0, 300 * MIB, 8 * GIB])
@pytest.mark.parametrize("seconds", [45, 60, 90, 200, 201, 202, 203, 204, 900])
def test_what_swings_within_the_steps_is_no_leak(swing: int, seconds: int) -> None:
    assert found(run(lambda step: 0.0, seconds, swing)) is None


@pytest.mark.parametrize(
    "curve",
    [lambda step: min(step, 300) * MIB, lambda step: GIB * (step > 900), lambda step: (step % 400) * MIB],
    ids=["warm-up", "one jump", "cycles"],
)
def test_other_shapes_are_no_leak(curve: Curve) -> None:
    assert found(run(curve, 100)) is None


def test_a_peak_that_the_script_sets_back_proves_nothing() -> None:
    assert found(run(lambda step: MIB * step, peak_bytes=None)) is None


def test_each_training_of_a_loop_leaves_something() -> None:
    finding = found(run(lambda step: 200 * MIB * ((step - 1) // (A_SECOND * 12)), 120, swing=100 * MIB, fit_s=12))
    assert finding is not None
    assert "with each training" in finding.title
    assert finding.evidence["mib_per_training"] == pytest.approx(200, rel=0.3)


@pytest.mark.parametrize("seconds", range(60, 150, 6))
def test_trainings_that_leave_nothing(seconds: int) -> None:
    assert found(run(lambda step: 0.0, seconds, swing=2 * GIB, fit_s=12)) is None
