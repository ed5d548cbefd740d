"""The stages of the input pipeline as findings speak of them: which is slow, what it is called, how it runs (pure)."""

from __future__ import annotations

from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState

EXPLAINS = 0.5
"""Share of a wait that the stages' times must reach to be its reason: autotuning measures them with some error."""


def slowest_stage(state: RunState) -> Stage | None:
    """The pipeline stage that needs most time for a batch; None where stage times were not measured. A prefetch is a
    buffer: its own time is the waiting for what comes before it."""
    if state.pipeline is None:
        return None
    timed = [s for s in state.pipeline.stages if s.get("per_batch_us") and not s["stage"].startswith("Prefetch")]
    return max(timed, key=batch_s, default=None)


def batch_s(stage: Stage) -> float:
    """Seconds that the stage needs for a batch; 0 where that was not measured."""
    return float(stage.get("per_batch_us") or 0.0) / 1e6


def stage_shares(stages: list[Stage]) -> list[float | None]:
    """Each stage's part of the pipeline's time for a batch; None where unknown."""
    whole = sum(float(s.get("per_batch_us") or 0.0) for s in stages)
    times = [s.get("per_batch_us") for s in stages]
    return [float(us) / whole if whole and us is not None else None for us in times]


def explains(state: RunState, wait_s: float) -> bool:
    """Whether the stages take long enough for a batch to explain so long a wait for it; True where one's time is
    unknown. Part of their time is hidden by the model's computation, so they need at least as long as the wait."""
    times = [stage.get("per_batch_us") for stage in state.pipeline.stages] if state.pipeline else []
    known = [float(time) for time in times if time is not None]
    return not known or len(known) < len(times) or sum(known) / 1e6 >= EXPLAINS * wait_s


def stage_label(stage: Stage, places: Places) -> str:
    """`Map load_image (data.py:41)`."""
    label = str(stage.get("name") or stage.get("stage"))
    if stage.get("file") and stage.get("line"):
        label += f" ({places.at(stage['file'], stage['line'])})"
    return label


def named(stage: Stage, places: Places) -> str:
    """The function that a person would edit, `load_image (data.py:41)`; the stage where it has none."""
    shown: Stage = {**stage, "name": stage["function"]} if stage.get("function") else stage
    return stage_label(shown, places)


def of_library(stage: Stage) -> str | None:
    """The library whose own function a stage runs (`Keras`, where fit cuts batches from arrays), else None."""
    name = str(stage.get("name") or "")
    return name[name.rfind("(") + 1 : -1] if stage.get("function") and name.endswith(")") else None


def python_stage(state: RunState) -> Stage | None:
    """A stage that runs Python: the first suspect where times are not to be had."""
    return next((s for s in state.pipeline.stages if s.get("python")), None) if state.pipeline is not None else None


def serial_map(stage: Stage) -> bool:
    """Whether the stage is a map that runs one element at a time, although nothing but the script forbids more."""
    parallel = stage.get("parallelism")
    return str(stage.get("stage")) in ("Map", "MapAndBatch") and (not parallel or parallel == 1)


def made_ahead(state: RunState) -> bool:
    """Whether workers of a PyDataset make its batches ahead, into a queue: more than one, or in processes."""
    dataset = state.dataset
    if dataset is None or dataset.kind != "pydataset":
        return False
    return (dataset.workers or 1) > 1 or bool(dataset.processes)


def prefetch_off(state: RunState) -> list[str]:
    """The options by which the script keeps TensorFlow from adding a prefetch, where it has none of its own. Where its
    workers make batches ahead, Keras itself switches autotune off (`get_tf_dataset` in py_dataset_adapter.py, 3.15)."""
    pipeline = state.pipeline
    if pipeline is None or made_ahead(state):
        return []
    if any(str(stage.get("stage")).startswith("Prefetch") for stage in pipeline.stages):
        return []
    return [name for name in ("autotune", "inject_prefetch") if pipeline.options.get(name) is False]


def stage_evidence(stage: Stage) -> dict[str, object]:
    """A stage as the evidence of a finding has it."""
    names = ("stage", "name", "function", "file", "line", "self_us", "parallelism")
    out: dict[str, object] = {k: stage.get(k) for k in names}
    per_batch_us = stage.get("per_batch_us")
    if per_batch_us is not None:
        out["per_batch_ms"] = round(float(per_batch_us) / 1e3, 3)
    return out


def input_knob(state: RunState) -> bool:
    """Whether this run already has the knob in use."""
    return state.run is not None and bool(state.run.knobs.get("input"))
