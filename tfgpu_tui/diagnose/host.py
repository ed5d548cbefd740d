"""Family D: the step waits for the host (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui import units
from tfgpu_tui.diagnose.finding import Finding, severity_of
from tfgpu_tui.state import STEADY_STEPS, RunState


def findings(state: RunState) -> Iterator[Finding]:
    """host.callbacks, host.python, host.eager."""
    if state.judged.steps < STEADY_STEPS or state.judged.mean_s is None:
        return
    yield from _callbacks(state)
    yield from _python(state)
    yield from _eager(state)


def _callbacks(state: RunState) -> Iterator[Finding]:
    steady = state.judged
    spent = sum(steady.callbacks.values())
    share = spent / steady.wall_s
    severity = severity_of(share)
    if severity is None:
        return
    by_class = sorted(steady.callbacks.items(), key=lambda kv: -kv[1])
    name, seconds = by_class[0]
    per_step = seconds / steady.steps
    yield Finding(
        id="host.callbacks",
        severity=severity,
        title=f"Callbacks take {units.share(share)} of each step",
        lines=[f"{n}: {units.duration(s / steady.steps)} a step" for n, s in by_class[:3] if s / steady.wall_s >= 0.01],
        next=(
            f"Do the work of {name} less often (every 100 steps, or once an epoch): it takes "
            f"{units.duration(per_step)} a step."
        ),
        evidence={
            "share": round(share, 4),
            "callbacks_ms_per_step": {n: round(s / steady.steps * 1e3, 3) for n, s in by_class[:8]},
            "step_ms": round((steady.mean_s or 0.0) * 1e3, 3),
            "steps": steady.steps,
        },
        share=share,
    )


def _python(state: RunState) -> Iterator[Finding]:
    """The script's own Python between steps; only in loops that the script wrote itself. What Keras' fit does between
    steps besides callbacks is Keras' own and no advice would change it."""
    steady = state.judged
    host = steady.shares()["host"]
    if state.loop in (None, "fit") or host is None:
        return
    share = host - sum(steady.callbacks.values()) / steady.wall_s
    severity = severity_of(share)
    if severity is None:
        return
    yield Finding(
        id="host.python",
        severity=severity,
        title=f"The script's own Python takes {units.share(share)} of each step, between two training steps",
        lines=[f"{units.duration(share * (steady.mean_s or 0.0))} of {units.duration(steady.mean_s)} a step"],
        next="Log, print and convert tensors less often in the loop: each float(tensor) also waits for the device.",
        evidence={
            "share": round(share, 4),
            "step_ms": round((steady.mean_s or 0.0) * 1e3, 3),
            "steps": steady.steps,
        },
        share=share,
    )


def _eager(state: RunState) -> Iterator[Finding]:
    asked = state.model is not None and state.model.run_eagerly is True
    if not asked and state.loop != "eager":
        return
    compute = state.judged.shares()["compute"]
    how = "compiled with run_eagerly=True" if asked else "the training step is plain Python, without tf.function"
    yield Finding(
        id="host.eager",
        severity="warning",
        title="The model runs eagerly: Python starts every op of every step",
        lines=[how, f"compute takes {units.share(compute)} of {units.duration(state.judged.mean_s)} a step"],
        next=(
            "Compile without run_eagerly (or compile(run_eagerly=False)) once debugging is done."
            if asked
            else "Put @tf.function on the function that does one training step."
        ),
        evidence={
            "run_eagerly": state.model.run_eagerly if state.model else None,
            "loop": state.loop,
            "step_ms": round((state.judged.mean_s or 0.0) * 1e3, 3),
        },
        share=0.0,
        incomplete="how much a graph would save is known only after a run with it",
    )
