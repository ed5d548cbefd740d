"""Family D: the step waits for the host: callbacks, the script's Python, eager ops, too small steps (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of
from tfgpu_tui.diagnose.input_wait import gpu_busy
from tfgpu_tui.diagnose.lines import MOST, Seen, loop_lines

SHORT_STEP_S = 0.020
"""Steps longer than this have work enough for a GPU, however small their ops."""
IDLE_GPU_PERCENT = 50.0
MOSTLY = 0.5
"""Share of the looks from which what they saw is most of it."""
EAGER = "eager"
"""The kind of a loop of the script's own whose steps no function holds."""
BUSY_CORE_PERCENT = 85.0
"""The busiest core, on average over the training: one thread starts the GPU's work and does nothing else."""


def findings(state: RunState) -> Iterator[Finding]:
    """host.callbacks, host.python, host.eager, host.launch_bound."""
    if state.judged.steps < STEADY_STEPS or state.judged.mean_s is None:
        return
    yield from _callbacks(state)
    yield from _python(state)
    yield from _eager(state)
    yield from _launch_bound(state)


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
    seen = loop_lines(state)
    yield Finding(
        id="host.callbacks",
        severity=severity,
        title=f"Callbacks take {units.share(share)} of each step",
        lines=[
            *(f"{n}: {units.duration(s / steady.steps)} a step" for n, s in by_class[:3] if s / steady.wall_s >= 0.01),
            *(line.sentence() for line in seen[:1]),
        ],
        next=(
            f"Do the work of {name} less often (every 100 steps, or once an epoch): it takes "
            f"{units.duration(per_step)} a step."
        ),
        evidence={
            "share": round(share, 4),
            "callbacks_ms_per_step": {n: round(s / steady.steps * 1e3, 3) for n, s in by_class[:8]},
            "step_ms": round((steady.mean_s or 0.0) * 1e3, 3),
            "steps": steady.steps,
            "script_lines": [line.evidence() for line in seen],
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
    predicting = sum(calls.wall_s for (_, _, in_fit), calls in state.predict_calls.items() if not in_fit)
    share = host - (sum(steady.callbacks.values()) + predicting) / steady.wall_s  # see host.predict_in_loop
    severity = severity_of(share)
    if severity is None:
        return
    seen = loop_lines(state)
    yield Finding(
        id="host.python",
        severity=severity,
        title=_between(seen, units.share(share)),
        lines=[
            f"{units.duration(share * (steady.mean_s or 0.0))} of {units.duration(steady.mean_s)} a step",
            *(line.sentence() for line in seen[:3]),
        ],
        next=_instead(seen),
        evidence={
            "share": round(share, 4),
            "step_ms": round((steady.mean_s or 0.0) * 1e3, 3),
            "steps": steady.steps,
            "script_lines": [line.evidence() for line in seen],
        },
        share=share,
    )


def _between(seen: list[Seen], share: str) -> str:
    if sum(line.share for line in seen if line.calls_model) > MOSTLY:
        return f"What is done between two training steps takes {share} of each: mostly a model, called op by op"
    return f"The script's own Python takes {share} of each step, between two training steps"


def _instead(seen: list[Seen]) -> str:
    """What to do about the line that takes most of it; where no line stands out, what usually takes it."""
    if not seen or seen[0].share < MOST:
        return "Log, print and convert tensors less often in the loop: each float(tensor) also waits for the device."
    first = seen[0]
    if first.calls_model:
        return (
            f"Put @tf.function on a function that calls the model, and call that at {first.place}: called by itself, "
            "a Keras model starts each of its ops from Python. If it is a validation: larger batches, or less often."
        )
    if first.waits:
        return (
            f"The loop waits at {first.place}: let what it waits for work ahead (a longer queue, more processes), or "
            "give that work to a tf.data pipeline."
        )
    return (
        f"Begin with {first.place}: do it less often, or, where it prepares data, in a tf.data pipeline. Each "
        "float(tensor) also waits for the device."
    )


def _eager(state: RunState) -> Iterator[Finding]:
    compiled = state.model is not None and state.model.run_eagerly is True
    told = state.knobs_in_force
    switched = not compiled and told is not None and told.in_force.get("run_eagerly") == "on"
    if not compiled and not switched and state.loop != EAGER:
        return
    asked = state.run.knobs.get("run_eagerly") if state.run is not None else None
    if asked == "on":
        how = "this run was asked for run_eagerly=on"
        step = "Rerun without run_eagerly=on: it is for a look inside, and slow."
    elif compiled:
        how = "compiled with run_eagerly=True"
        step = "Compile without run_eagerly (or compile(run_eagerly=False)) once debugging is done."
    elif switched:
        how = (told.script.get("run_eagerly") if told else None) or "tf.config.run_functions_eagerly(True)"
        step = "Take tf.config.run_functions_eagerly(True) out once debugging is done."
    else:
        how = "the training step is plain Python, without tf.function"
        step = "Put @tf.function on the function that does one training step."
    seen = loop_lines(state)
    ops = eager_ops_per_step(state)
    yield Finding(
        id="host.eager",
        severity="warning",
        title="The model runs eagerly: Python starts every op of every step",
        lines=[
            how + (f": {ops} ops a step, each started by itself" if ops else ""),
            *_of_which(state),
            f"compute takes {units.share(state.judged.shares()['compute'])} of "
            f"{units.duration(state.judged.mean_s)} a step",
            *(line.sentence() for line in seen[:2]),
        ],
        next=step,
        knob="run_eagerly=off" if (compiled or switched) and not asked else None,
        evidence={
            "run_eagerly": state.model.run_eagerly if state.model else None,
            "functions_run_eagerly": switched,
            "loop": state.loop,
            "ops_per_step": ops,
            "script_lines": [line.evidence() for line in seen],
            "step_ms": round((state.judged.mean_s or 0.0) * 1e3, 3),
        },
        share=0.0,
        incomplete="how much a graph would save is known only after a run with it",
    )


def _of_which(state: RunState) -> list[str]:
    """Where other steps ran as a graph."""
    by_loop = state.described.steps.by_loop
    eager, steps = by_loop.get(EAGER), sum(totals.steps for totals in by_loop.values())
    if eager is None or eager.steps == steps:
        return []
    share = eager.wall_s / sum(totals.wall_s for totals in by_loop.values())
    return [f"so do {eager.steps} of {steps} steps, which take {units.share(share)} of the steps' time"]


def eager_ops_per_step(state: RunState) -> int | None:
    """Ops that Python started one by one in the observed step; None where the step is a graph, or was not observed."""
    placement = state.placement
    return placement.ops if placement is not None and placement.source == "eager" and placement.ops else None


def _launch_bound(state: RunState) -> Iterator[Finding]:
    """The GPU has less to do in a step than the host needs to start it."""
    steady, busy = state.judged, gpu_busy(state)
    shares = steady.shares()
    core = state.series["busiest_core"].mean(state.first_step_t, state.last_step_t)
    if busy is None or core is None or steady.mean_s is None or shares["compute"] is None:
        return
    waiting = (shares["input_wait"] or 0.0) + (shares["host"] or 0.0)
    if steady.mean_s > SHORT_STEP_S or busy >= IDLE_GPU_PERCENT or core < BUSY_CORE_PERCENT or waiting >= 0.5:
        return
    if (shares["input_wait"] or 0.0) >= WARNING_SHARE:
        return  # then that is the first thing to look at
    share = shares["compute"] * (1.0 - busy / 100.0)
    together = (state.model.steps_per_execution or 1) if state.model is not None else None
    yield Finding(
        id="host.launch_bound",
        severity=severity_of(share) or "warning",
        title=f"Steps of {units.duration(steady.mean_s)} are too small for the GPU: it is {units.percent(busy)} busy",
        lines=[
            f"one core is {units.percent(core)} busy starting the GPU's work, and there is no wait for data",
            f"batch size {state.batch_size}" if state.batch_size else "batch size unknown",
        ],
        next="A larger batch; compile(steps_per_execution=32), which returns to Python less often; jit_compile=True.",
        knob="steps_per_execution=32" if together == 1 else None,
        evidence={
            "step_ms": round(steady.mean_s * 1e3, 3),
            "gpu_busy_percent": round(busy, 1),
            "busiest_core_percent": round(core, 1),
            "batch_size": state.batch_size,
            "steps_per_execution": together,
            "steps": steady.steps,
        },
        share=share,
    )
