"""The epochs of a process, their edges, and its metrics (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import field, replace

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import BUCKETS, Series

METRICS = 32


@dataclass
class Epochs:
    """Where the training is, and what happens between epochs."""

    epoch: int | None = None
    epochs: int | None = None
    epochs_done: int = 0
    epoch_steps: int | None = None
    epoch_first_step: int = 0
    """Train steps done when the epoch began."""
    first_wait_s: float | None = None
    """For the first batch of this epoch, from its first window; None before that."""
    edge_s: float = 0.0
    validation_s: float = 0.0
    epoch_callbacks: dict[str, float] = field(default_factory=dict)
    history: deque[ev.Epoch] = field(default_factory=lambda: deque(maxlen=200))
    """Ended epochs with their metrics."""
    loss_finite_at: int | None = None
    """The training step at which the loss was last told as a finite number."""
    loss_lost_at: int | None = None
    """The step at which it was first told as none after that; None while it is finite."""
    metrics: dict[str, float | str] = field(default_factory=dict)
    metric_series: dict[str, Series] = field(default_factory=dict)
    buckets: int = BUCKETS
    """Of each of these series."""


def begin(epochs: Epochs, e: ev.Epoch, steps: int) -> None:
    """`steps`: train steps done until now."""
    epochs.epoch, epochs.epochs, epochs.epoch_steps = e.epoch, e.epochs, e.steps
    epochs.first_wait_s = None
    epochs.epoch_first_step = steps
    epochs.edge_s += e.edge_s or 0.0


def end(epochs: Epochs, e: ev.Epoch, steps: int) -> None:
    """`steps`: train steps done until now."""
    epochs.epochs_done += 1
    if e.first_wait_s is None:
        e = replace(e, first_wait_s=epochs.first_wait_s)
    epochs.validation_s += e.validation_s or 0.0
    for name, seconds in e.callbacks.items():
        epochs.epoch_callbacks[name] = epochs.epoch_callbacks.get(name, 0.0) + seconds
    epochs.history.append(e)
    learn(epochs, e.t, e.metrics, steps)


def first_wait(epochs: Epochs, e: ev.Steps) -> None:
    """The first window of an epoch has its first batch."""
    if epochs.first_wait_s is None and e.wait_s is not None and e.step_max_s is not None:
        epochs.first_wait_s = min(e.wait_s, e.step_max_s)


def learn(epochs: Epochs, t: float, values: dict[str, float | str], step: int) -> None:
    """Values of the training's own metrics at a step."""
    epochs.metrics.update(values)
    if isinstance(values.get("loss"), str):
        epochs.loss_lost_at = step if epochs.loss_lost_at is None else epochs.loss_lost_at
    elif "loss" in values:
        epochs.loss_finite_at, epochs.loss_lost_at = step, None
    for name, value in values.items():
        if isinstance(value, (int, float)):
            if name not in epochs.metric_series and len(epochs.metric_series) >= METRICS:
                continue
            epochs.metric_series.setdefault(name, Series(epochs.buckets)).add(t, float(value))
