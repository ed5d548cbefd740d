"""input.ran_out and run.nan_loss: what is lost while the training goes on, and what only looks so."""

from __future__ import annotations

import dataclasses

import pytest

from tests.journals import T0, start, state_of
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding


def found(state: RunState, name: str) -> Finding | None:
    return next((finding for finding in diagnose(state) if finding.id == name), None)


def epochs(steps: list[int], planned: int | None, stopped: bool | None = False) -> list[ev.Event]:
    told: list[ev.Event] = []
    for number, done in enumerate(steps, start=1):
        common = {"t": T0 + number, "epoch": number, "epochs": len(steps), "fit": 1}
        told.append(ev.Epoch(state="begin", steps=planned, **common))  # type: ignore[arg-type]
        told.append(ev.Epoch(state="end", steps=done, planned=planned, stopped=stopped, **common))  # type: ignore[arg-type]
    return told


def dataset(kind: str) -> ev.Event:
    return ev.Dataset(t=T0, kind=kind)


@pytest.mark.parametrize(
    ("kind", "steps", "planned", "title", "step"),
    [
        ("tf.data", [40, 40, 40], 60, "epoch 1 ended after 40 of 60 steps", "Leave steps_per_epoch out"),
        ("tf.data", [30, 10, 30, 10], 30, "epoch 2 ended after 10 of 30 steps", ".repeat()"),
        ("generator", [40, 0, 2], 40, "epoch 2 ended after 0 of 40 steps", "endless"),
        ("generator", [40, 2, 2], None, "epoch 2 ended after 2 of 40 steps", "begin anew"),
        ("tf.data", [10], 60, "epoch 1 ended after 10 of 60 steps", "Leave steps_per_epoch out"),
    ],
)
def test_an_input_that_runs_out(kind: str, steps: list[int], planned: int | None, title: str, step: str) -> None:
    finding = found(state_of(start(), [dataset(kind), *epochs(steps, planned)]), "input.ran_out")
    assert finding is not None and finding.severity == "warning"
    assert finding.title == f"The input runs out: {title}" and step in finding.next


@pytest.mark.parametrize(
    ("steps", "planned", "stopped"),
    [
        ([40, 40, 40], 40, False),  # all that was planned
        ([40, 38, 40], None, False),  # a data set whose length varies
        ([40, 40, 11], 40, True),  # EarlyStopping, or any callback that stops the fit
        ([40, 40, 11], 40, None),  # an older agent, which did not tell why
        ([0], None, False),
    ],
)
def test_what_is_no_lost_input(steps: list[int], planned: int | None, stopped: bool | None) -> None:
    assert found(state_of(start(), epochs(steps, planned, stopped)), "input.ran_out") is None


def losses(*values: float | str) -> list[ev.Event]:
    """Told once a second, 50 steps later each time."""
    told: list[ev.Event] = []
    for number, value in enumerate(values, start=1):
        at = T0 + number
        told.append(ev.Steps(t=at, phase="train", steps=50, executions=50, wall_s=0.5, first_step=50 * number - 49))
        told.append(ev.Metrics(t=at, step=50 * number, values={"loss": value, "odd": "nan"}))
    return told


def test_a_loss_that_became_nan_is_told_with_when() -> None:
    finding = found(state_of(start(), losses(0.7, 0.6, "nan", "nan")), "run.nan_loss")
    assert finding is not None and finding.severity == "critical" and finding.knob is None
    assert finding.title == "The loss is nan: the training learns nothing any more"
    assert finding.lines[0] == "first read so at step 150; at step 100 it was a number"
    assert finding.evidence["step_at_latest"] == 150 and finding.incomplete is not None


def test_half_precision_is_suspected_where_there_is_some() -> None:
    model = ev.Model(t=T0, name="net", cls="Sequential", dtype_policy="mixed_float16")
    finding = found(state_of(start(), [model, *losses("inf")]), "run.nan_loss")
    assert finding is not None and finding.knob == "precision=float32"
    assert "65504" in finding.lines[-1] and "the first time that it was read" in finding.lines[0]
    bfloat = dataclasses.replace(model, dtype_policy="mixed_bfloat16")
    other = found(state_of(start(), [bfloat, *losses("inf")]), "run.nan_loss")
    assert other is not None and other.knob is None, "bfloat16 has float32's range"


def test_a_loss_that_came_back_and_another_metric_without_numbers_are_fine() -> None:
    assert found(state_of(start(), losses(0.7, "nan", 0.6)), "run.nan_loss") is None
    assert found(state_of(start(), losses(0.7, 0.6)), "run.nan_loss") is None
