"""Family D: the host makes graphs again and again: retracing, and XLA compiling for new shapes (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import units
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.core.totals import Retraced
from tfgpu_tui.diagnose.finding import Finding, severity_of

MANY = 5
"""Retraces, or compilations, in the later half of the steps, from which they do not just belong to the start."""
SPIKE = 4.0
"""A step so many times as long as a quick one (the quarter that is quickest) is a spike."""
SPIKE_S = 0.03
"""XLA takes longer than this for the smallest model."""
ADVICE = {
    "value": "Pass {argument} as a tensor (tf.constant): each new Python value makes a graph of its own.",
    "shape": "Give tf.function an input_signature with None for the size that varies, or pad the batches to one size.",
    "dtype": "Cast {argument} to one dtype before the call.",
    "structure": "Call the function with arguments of the same structure each time.",
    "object": "Make the tf.function once, outside of the loop: each new one is traced anew.",
}


def findings(state: RunState) -> Iterator[Finding]:
    """host.retracing, host.xla_recompile."""
    if state.train.steps < STEADY_STEPS:
        return
    yield from _retracing(state)
    yield from _xla_recompile(state)


def _retracing(state: RunState) -> Iterator[Finding]:
    """The function that took most time to trace again, in the later half of the steps."""
    costs = [(later_half(state, r), r.latest) for r in state.retraces.values()]
    counts = [(share, traces, latest) for (share, traces), latest in costs if traces >= MANY]
    if not counts:
        return
    share, traces, worst = max(counts, key=lambda c: c[0])
    severity = severity_of(share)
    if severity is None:
        return
    place = _place(worst, state.places)
    each = worst.seconds / max(worst.traces - 1, 1)
    yield Finding(
        id="host.retracing",
        severity=severity,
        title=f"{units.share(share)} of the time goes into tracing {worst.function} again and again",
        lines=[
            f"{place}: traced {worst.traces} times in {state.train.steps} steps, {units.duration(each)} each",
            _change(worst),
        ],
        next=ADVICE.get(worst.kind, ADVICE["structure"]).format(argument=worst.argument or "it"),
        evidence={
            "function": worst.function,
            "file": worst.file,
            "line": worst.line,
            "traces": worst.traces,
            "traces_in_later_half": traces,
            "seconds": round(worst.seconds, 3),
            "kind": worst.kind,
            "argument": worst.argument,
            "before": worst.before,
            "after": worst.after,
            "steps": state.train.steps,
        },
        share=share,
    )


def later_half(state: RunState, retraced: Retraced) -> tuple[float, int]:
    """(share of the training's time, number) of this function's retraces in the later half of the steps so far: what
    comes early belongs to the start."""
    steps, wall_s = 0, 0.0
    traces, seconds = 1, 0.0
    for at, wall, count, spent in retraced.history:
        if at > state.train.steps / 2:
            break
        steps, wall_s, traces, seconds = at, wall, count, spent
    if not steps:
        wall_s = state.train.wall_s / 2
    rest = state.train.wall_s - wall_s
    latest = retraced.latest
    return (min((latest.seconds - seconds) / rest, 1.0) if rest > 0 else 0.0), latest.traces - traces


def _place(trace: ev.Retrace, places: Places) -> str:
    if trace.keras:
        return f"Keras' {trace.function}"
    return f"{trace.function} ({places.at(trace.file, trace.line)})"


def _change(trace: ev.Retrace) -> str:
    if trace.argument is None:
        return "no argument changed: a new tf.function is made of it each time"
    return f"its argument {trace.argument} changed: {trace.before or 'absent'} → {trace.after or 'absent'}"


def _xla_recompile(state: RunState) -> Iterator[Finding]:
    """XLA compiles once for each shape, inside of a step, and tells nobody: the step is a spike."""
    model, dataset, steady = state.model, state.dataset, state.judged
    if model is None or model.jit_compile is not True or dataset is None or steady.steps < STEADY_STEPS:
        return
    varying = [e for e in dataset.elements if None in (e.get("shape") or [None])[1:]]
    usual = steady.percentile_s(0.25)
    if not varying or usual is None:
        return
    spikes = [longest for longest, compute in state.slowest_steps
              if longest >= max(SPIKE * usual, SPIKE_S) and compute >= longest / 2]  # fmt: skip
    spent = sum(spikes) - len(spikes) * usual
    share = spent / steady.wall_s if steady.wall_s else 0.0
    severity = severity_of(share)
    if severity is None or len(spikes) < MANY:
        return
    shapes = ", ".join(f"{e.get('dtype')} {e.get('shape')}" for e in varying[:2])
    yield Finding(
        id="host.xla_recompile",
        severity="warning",
        title=f"XLA seems to compile again for new shapes: {units.share(share)} of the time is in slow single steps",
        lines=[
            f"{len(spikes)} steps took {units.duration(spent / len(spikes))} more than usual: "
            f"{units.duration(usual)}, in the computation",
            f"jit_compile is on, and the batches have no fixed shape: {shapes}",
        ],
        next="Pad the batches to one size (or to a few), or compile without jit_compile.",
        knob="jit_compile=off" if state.run is not None and not state.run.knobs.get("jit_compile") else None,
        evidence={
            "spikes": len(spikes),
            "spike_ms": round(sum(spikes) / len(spikes) * 1e3, 1),
            "usual_ms": round(usual * 1e3, 3),
            "share": round(share, 4),
            "elements": varying[:4],
        },
        share=share,
        incomplete="XLA does not tell when it compiles: it is inferred from slow steps while the shapes vary",
    )
