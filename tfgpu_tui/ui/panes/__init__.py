"""One pane a file, each a pure function `content(view, box) -> Content`; `PANES` names them all.

A pane may import what is pure, and of `ui` what draws; it knows neither the app nor the run's files.
"""

from __future__ import annotations

from collections.abc import Callable

from tfgpu_tui.ui.draw import Box, Content
from tfgpu_tui.ui.panes import (
    account,
    compare,
    cpu,
    epochs,
    findings,
    gpu,
    memory,
    metric,
    output,
    pipeline,
    placement,
    step,
    trials,
)
from tfgpu_tui.ui.view import View

PANES: dict[str, Callable[[View, Box], Content]] = {
    "trials": trials.content,
    "findings": findings.content,
    "step": step.content,
    "gpu": gpu.content,
    "cpu": cpu.content,
    "memory": memory.content,
    "metric": metric.content,
    "pipeline": pipeline.content,
    "epochs": epochs.content,
    "account": account.content,
    "placement": placement.content,
    "output": output.content,
    "compare": compare.content,
}
"""In the order in which Tab visits them."""

DRAWN_FROM: dict[str, Callable[[View], object]] = {
    "findings": findings.drawn_from,
    "pipeline": pipeline.drawn_from,
    "epochs": epochs.drawn_from,
    "placement": placement.drawn_from,
    "output": output.drawn_from,
}
"""Of panes that mostly stay as they are: what they show follows from."""
