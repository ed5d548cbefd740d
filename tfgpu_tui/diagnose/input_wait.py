"""Family C: the step waits for input (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfgpu_tui import units
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of
from tfgpu_tui.state import STEADY_STEPS, RunState

HIDDEN_BUSY_PERCENT = 85.0
"""GPU busy from which waiting of the host is overlapped by work that is still queued on the device."""
SECOND_SIGN = 0.5
"""Where the wait is only an upper bound: the share of a step that the slowest stage must need for a batch."""


def findings(state: RunState) -> Iterator[Finding]:
    """input.bound, or input.hidden."""
    steady = state.judged
    share = steady.shares()["input_wait"]
    if steady.steps < STEADY_STEPS or share is None or steady.mean_s is None or share < WARNING_SHARE:
        return
    wait_s = share * steady.mean_s
    evidence: dict[str, Any] = {
        "input_wait": round(share, 4),
        "wait_ms_per_step": round(wait_s * 1e3, 3),
        "step_ms": round(steady.mean_s * 1e3, 3),
        "steps": steady.steps,
    }
    busy = gpu_busy(state)
    if busy is not None:
        evidence["gpu_busy_percent"] = round(busy, 1)
    if hidden(state):
        yield Finding(
            id="input.hidden",
            severity="info",
            title=f"Waiting for data is hidden: the GPU stays {units.percent(busy)} busy meanwhile",
            lines=[f"the loop waits {units.share(share)} of each step, while queued work keeps the GPU busy: no loss"],
            next="Nothing to do: the GPU has work while the host waits.",
            evidence=evidence,
        )
        return
    stage = slowest_stage(state)
    if stage is not None:
        evidence["stage"] = stage_evidence(stage)
    unsure = unconfirmed(state)
    yield Finding(
        id="input.bound",
        severity="info" if unsure else (severity_of(share) or "info"),
        title=(
            f"Perhaps input-bound: up to {units.share(share)} of each step waits for data"
            if unsure
            else f"Input-bound: {units.share(share)} of each step waits for data"
        ),
        lines=[
            f"waits {units.duration(wait_s)} of {units.duration(steady.mean_s)} a step",
            _stage_sentence(state, stage),
        ],
        next=_next_step(state, stage),
        knob=_knob(state, stage),
        evidence=evidence,
        share=0.0 if unsure else share,
        incomplete=unsure,
    )


def waiting_share(state: RunState) -> float | None:
    """The share of step time that a cause of waiting could explain; None where the run is not input-bound for sure."""
    share = state.judged.shares()["input_wait"]
    if state.judged.steps < STEADY_STEPS or share is None or share < WARNING_SHARE:
        return None
    return None if hidden(state) or unconfirmed(state) else share


def hidden(state: RunState) -> bool:
    """Whether a GPU has work while the host waits."""
    busy = gpu_busy(state)
    return busy is not None and busy >= HIDDEN_BUSY_PERCENT


def unconfirmed(state: RunState) -> str | None:
    """Why waiting is only an upper bound here, and nothing confirms it; None where it is what it seems."""
    bound = state.judged.wait_bound
    if bound is None or _second_sign(slowest_stage(state), state.judged.mean_s or 0.0):
        return None
    return f"{bound}: the time in next is only an upper bound, and no slow stage confirms it"


def stage_evidence(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage as the evidence of a finding has it."""
    names = ("stage", "name", "function", "file", "line", "self_us", "parallelism")
    out = {k: stage.get(k) for k in names}
    if stage.get("per_batch_us") is not None:
        out["per_batch_ms"] = round(float(stage["per_batch_us"]) / 1e3, 3)
    return out


def _knob(state: RunState, stage: dict[str, Any] | None) -> str | None:
    """What a rerun could try: the cure where a setting is one, else how fast the model is with free input."""
    if state.run is not None and state.run.knobs.get("input"):
        return None
    return "input=parallel" if stage is not None and serial_map(stage) else "input=synthetic"


def serial_map(stage: dict[str, Any]) -> bool:
    """Whether the stage is a map that runs one element at a time, although nothing but the script forbids more."""
    parallel = stage.get("parallelism")
    return str(stage.get("stage")) in ("Map", "MapAndBatch") and (not parallel or parallel == 1)


def slowest_stage(state: RunState) -> dict[str, Any] | None:
    """The pipeline stage that needs most time for a batch; None where stage times were not measured."""
    if state.pipeline is None:
        return None
    timed = [s for s in state.pipeline.stages if s.get("per_batch_us")]
    return max(timed, key=lambda s: float(s["per_batch_us"]), default=None)


def stage_shares(stages: list[dict[str, Any]]) -> list[float | None]:
    """Each stage's part of the pipeline's time for a batch; None where unknown."""
    whole = sum(float(s.get("per_batch_us") or 0.0) for s in stages)
    return [float(s["per_batch_us"]) / whole if whole and s.get("per_batch_us") is not None else None for s in stages]


def stage_label(stage: dict[str, Any]) -> str:
    """`Map load_image (data.py:41)`."""
    label = str(stage.get("name") or stage.get("stage"))
    if stage.get("file") and stage.get("line"):
        label += f" ({str(stage['file']).rsplit('/', 1)[-1]}:{stage['line']})"
    return label


def gpu_busy(state: RunState) -> float | None:
    """Mean GPU busy (percent) over the time of training, of the run's own GPUs; None where there is none."""
    ours = [g for g in state.gpus.values() if g.ours]
    means = [m for g in ours if (m := g.busy.mean(state.first_step_t, state.last_step_t)) is not None]
    return sum(means) / len(means) if means else None


def _second_sign(stage: dict[str, Any] | None, step_s: float) -> bool:
    return stage is not None and float(stage["per_batch_us"]) / 1e6 >= SECOND_SIGN * step_s


def _stage_sentence(state: RunState, stage: dict[str, Any] | None) -> str:
    if stage is None:
        why = state.pipeline.note if state.pipeline is not None and state.pipeline.note else "no stage times yet"
        suspect = python_stage(state)
        return f"slowest stage unknown: {why}" + (f"; in Python runs {stage_label(suspect)}" if suspect else "")
    per_batch_us = float(stage["per_batch_us"])
    parts = [f"slowest {stage_label(stage)}: {units.duration(per_batch_us / 1e6)} a batch"]
    if stage.get("self_us") is not None and abs(float(stage["self_us"]) - per_batch_us) > 0.01 * per_batch_us:
        parts.append(f"{units.duration(float(stage['self_us']) / 1e6)} an element")
    if not stage.get("parallelism") or stage["parallelism"] == 1:
        parts.append("one at a time")
    else:
        parts.append(f"{stage['parallelism']:g} at a time")
    if stage.get("python"):
        parts.append("Python")
    return ", ".join(parts)


def _next_step(state: RunState, stage: dict[str, Any] | None) -> str:
    if state.dataset is not None and state.dataset.kind == "pydataset" and (state.dataset.workers or 1) <= 1:
        return (
            "Give the PyDataset workers: super().__init__(workers=4, use_multiprocessing=True) in its __init__; "
            "it makes one batch at a time now."
        )
    if stage is None:
        suspect = python_stage(state)
        if suspect is None:
            return "Look at the pipeline: the stage times say which stage to speed up once they are known."
        return f"Start with {named(suspect)}: it is the part of the pipeline that runs Python, one element at a time."
    what = named(stage)
    kind = str(stage.get("stage"))
    serial = not stage.get("parallelism") or stage["parallelism"] == 1
    if "Generator" in kind:
        return f"{what} runs Python, one element at a time: read with tf.data ops, or a PyDataset with several workers."
    if stage.get("python") and serial:
        return (
            f"Write {what} with TensorFlow ops, then put num_parallel_calls=tf.data.AUTOTUNE on its map: "
            "as Python it makes one element at a time."
        )
    if stage.get("python"):
        return f"Write {what} with TensorFlow ops: as Python its parallel calls share one interpreter lock."
    if kind in ("Map", "MapAndBatch") and serial:
        return f"Give the map of {what} num_parallel_calls=tf.data.AUTOTUNE."
    if kind.startswith(("ParallelMap", "ParallelInterleave", "MapAndBatch")):
        return f"{what} already runs in parallel: make it cheaper, cache() its result, or give it more CPU cores."
    if kind.startswith("Shuffle"):
        return f"{what} refills: a smaller buffer, or cache() before it."
    return f"Make {what} cheaper, or cache() its result; end the pipeline with prefetch(tf.data.AUTOTUNE)."


def python_stage(state: RunState) -> dict[str, Any] | None:
    """A stage that runs Python: the first suspect where times are not to be had."""
    return next((s for s in state.pipeline.stages if s.get("python")), None) if state.pipeline is not None else None


def named(stage: dict[str, Any]) -> str:
    """The function that a person would edit, `load_image (data.py:41)`; the stage where it has none."""
    return stage_label({**stage, "name": stage["function"]}) if stage.get("function") else stage_label(stage)
