"""Journals made of events, for tests that need a run without running one."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.events import histogram_bucket
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import Finding

T0 = 1_000_000.0


def steps(
    t: float,
    count: int = 20,
    step_ms: float = 10.0,
    wait: float = 0.0,
    host: float = 0.05,
    **more: Any,
) -> ev.Steps:
    """A window of `count` steps that ended at T0 + t; `wait` and `host` are shares of step time."""
    wall = count * step_ms / 1e3
    values: dict[str, Any] = {
        "t": T0 + t,
        "src": "agent",
        "pid": 4711,
        "steps": count,
        "executions": count,
        "wall_s": wall,
        "wait_s": wall * wait,
        "compute_s": wall * (1 - wait - host),
        "host_s": wall * host,
        "periods": {str(histogram_bucket(step_ms / 1e3)): count},
        "step_min_s": step_ms / 1e3,
        "step_max_s": step_ms / 1e3,
        "batch_size": 32,
        "examples": 32 * count,
        "epoch": 1,
        "fit": 1,
    }
    return ev.Steps(**{**values, **more})


def start(knobs: dict[str, str] | None = None, run_id: str = "train-1") -> list[ev.Event]:
    """What every journal begins with, on a machine without a GPU."""
    return [
        ev.RunStarted(
            t=T0, src="child", id=run_id, argv=["train.py"], cwd="/home/u", python="/usr/bin/python3", knobs=knobs or {}
        ),
        ev.ChildStarted(t=T0, src="child", pid=4711),
        ev.Environment(t=T0, src="host", cpu_count=2, nvidia_devices=0),
        ev.GpuSample(t=T0, src="gpu", status="no_library", message="libnvidia-ml.so.1 is not installed"),
        ev.AgentConnected(t=T0 + 0.1, src="agent", pid=4711),
        ev.Environment(t=T0 + 1, src="agent", tensorflow="2.21.0", tensorflow_build="cpu", keras="3.15.1", tf_gpus=[]),
        ev.Phase(t=T0 + 1, src="agent", phase="training"),
    ]


def windows(count: int, wait: float = 0.0, step_ms: float = 10.0, **more: Any) -> list[ev.Event]:
    """Warm-up of 5 steps, then `count` windows a quarter of a second apart; steps as long as windows are."""
    per_window = max(1, round(250 / step_ms))
    out: list[ev.Event] = [steps(2.0, 5, step_ms * 20, warmup=True, traces=2)]
    for i in range(count):
        jitter = 1 + 0.01 * ((i * 7) % 5 - 2)
        out.append(steps(2.25 + 0.25 * i, per_window, step_ms * jitter, wait, first_step=6 + i * per_window, **more))
    return out


def state_of(*parts: list[ev.Event]) -> RunState:
    """The state after these events."""
    return fold([event for part in parts for event in part])


SLOW_MAP: Stage = {
    "stage": "Map",
    "name": "Map load_image",
    "function": "load_image",
    "file": "/home/u/data.py",
    "line": 41,
    "self_us": 200.0,
    "per_batch_us": 6400.0,
    "parallelism": None,
    "elements": 6400,
    "python": True,
    "autotuned": False,
    "buffered": None,
    "buffer_size": None,
}


def pipeline(*stages: Stage, note: str | None = None) -> list[ev.Event]:
    """A pipeline event; the slow map by default."""
    read: Stage = {"stage": "TensorSlice", "name": "TensorSlice", "self_us": 1.0, "per_batch_us": 32.0}
    return [ev.Pipeline(t=T0 + 3, src="agent", stages=list(stages) or [read, SLOW_MAP], note=note)]


def evidence(finding: Finding) -> dict[str, Any]:
    """What a finding has for evidence, as a script reads it from report.json."""
    return dict(finding.evidence)
