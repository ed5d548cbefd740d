"""Family F: the computation itself takes longer than it needs to, and why (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import units
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import GraphFunction
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import Finding, severity_of

LONG_TRACE_S = 2.0
"""In all traces of a graph that holds an unrolled loop; below it nobody waits for them."""
COLLECTIVES_SHARE = 0.2
"""Of a step, from which exchanging gradients is told: some of it remains in each synchronous training."""
TOLD_S = 10.0
"""From which it is told at least for information, however long the run is."""


def findings(state: RunState) -> Iterator[Finding]:
    """compute.unrolled, compute.python, compute.collectives."""
    yield from _unrolled(state)
    yield from _python(state)
    yield from _collectives(state)


def _unrolled(state: RunState) -> Iterator[Finding]:
    """The unrolled loop that took longest to trace. Known before the first step ends."""
    worst = max(state.unrolled.values(), key=lambda loop: loop.seconds, default=None)
    if worst is None or worst.seconds < LONG_TRACE_S:
        return
    share = min(worst.seconds / state.wall_s, 1.0) if state.wall_s else 0.0
    severity = severity_of(share) or ("info" if worst.seconds >= TOLD_S else None)
    if severity is None:
        return
    place = state.places.at(worst.file, worst.line)
    steps = worst.updates if worst.updates is not None and worst.updates > 1 else None
    yield Finding(
        id="compute.unrolled",
        severity=severity,
        title=f"A Python loop ({place}) was unrolled into the graph: {units.duration(worst.seconds)} of tracing",
        lines=[
            f"{place}  {worst.text}  (about {steps or worst.copies} copies of its ops in a graph of {worst.ops} ops)",
            *_one_call(worst, steps),
            f"traced {worst.traces} times" if worst.traces > 1 else "traced once",
        ],
        next=f"Put @tf.function on the step inside the loop, and not on {worst.function}, which holds the loop."
        if steps
        else "Loop over tensors: for i in tf.range(n), tf.while_loop or keras.layers.RNN put the loop itself into the "
        "graph, once; or compute all turns at once, as one tensor with one more axis.",
        evidence={
            "file": worst.file,
            "line": worst.line,
            "function": worst.function,
            "copies": worst.copies,
            "ops": worst.ops,
            "traces": worst.traces,
            "seconds": round(worst.seconds, 3),
            "share_of_run": round(share, 4),
            "training_steps_in_one_call": steps,
        },
        share=share,
    )


def _one_call(loop: ev.UnrolledLoop, steps: int | None) -> list[str]:
    if steps is None:
        return []
    return [
        f"one call of {loop.function} holds {steps} updates of the weights: no single step can be seen inside of it"
    ]


def _python(state: RunState) -> Iterator[Finding]:
    """Python functions in the graph of the step, together: TensorFlow waits for the interpreter in each."""
    told, steady = state.graph_python, state.judged
    if told is None or not told.steps or steady.steps < STEADY_STEPS or not steady.mean_s:
        return
    each_s = sum(function["seconds"] for function in told.functions) / told.steps
    share = min(each_s / steady.mean_s, 1.0)
    severity = severity_of(share)
    if severity is None:
        return
    worst = told.functions[0]
    yield Finding(
        id="compute.python",
        severity=severity,
        title=f"Python inside the graph takes {units.share(share)} of each step: {worst['name']}",
        lines=[_function(function, told.steps, state.places) for function in told.functions[:3]],
        next=f"Write {worst['name']} with TensorFlow's ops, or call it after the step or once an epoch; what prepares "
        "data belongs into the input pipeline, where it runs beside the step.",
        evidence={
            "share": round(share, 4),
            "ms_a_step": round(each_s * 1e3, 3),
            "step_ms": round(steady.mean_s * 1e3, 3),
            "functions": told.functions,
        },
        share=share,
    )


def _function(function: GraphFunction, steps: int, places: Places) -> str:
    place = places.at(function.get("file"), function.get("line"))
    at = function.get("at")
    put = f", put into the graph at {at}" if at and at != place else ""
    calls = function["calls"] / steps
    number = "once" if 0.9 <= calls <= 1.1 else f"{calls:.1f} times"
    return (
        f"{function['name']} ({place}): {units.duration(function['seconds'] / steps)} a step, called {number} a "
        f"step by {function.get('kind')}{put}"
    )


def _collectives(state: RunState) -> Iterator[Finding]:
    """Replicas that add up their gradients, and wait for each other, while nothing else runs."""
    times, steady = state.layer_times, state.judged
    if times is None or not times.step_ms or steady.steps < STEADY_STEPS:
        return
    each_ms = times.parts.get("collectives", 0.0)
    share = min(each_ms / times.step_ms, 1.0)
    if share < COLLECTIVES_SHARE:
        return
    kinds = [row for row in times.ops if row["part"] == "collectives"]
    job = state.described.job
    processes = job.workers if job is not None else None
    replicas = state.model.replicas if state.model is not None else None
    here = replicas / (processes or 1) if replicas else None  # of this process, whose steps show its own batch
    each = state.batch_size / here if state.batch_size and here else None
    parameters = state.model.parameters if state.model is not None else None
    gpus = state.environment.tf_gpus or []
    one = gpus[0].get("uuid") if len(gpus) > 1 else None
    yield Finding(
        id="compute.collectives",
        severity="warning",
        title=f"Adding up gradients between replicas takes {units.share(share)} of each step",
        lines=[
            f"{units.duration(each_ms / 1e3)} of {units.duration(times.step_ms / 1e3)} a step in "
            f"{', '.join(sorted({row['op'] for row in kinds}))[:80] or 'collective ops'} while nothing else runs",
            *_sizes(replicas, processes, each, parameters),
            "waiting for the slowest replica counts too: the profile is of one process",
        ],
        next="Give each replica more to do between two exchanges: a larger batch for each of them. "
        + (
            "Over a network, choose NCCL (CommunicationOptions) and the fastest interface."
            if (processes or 1) > 1
            else "Enter reruns on one GPU; the comparison then says what the others bring."
        ),
        evidence={
            "share": round(share, 4),
            "collectives_ms": round(each_ms, 4),
            "step_ms": round(times.step_ms, 4),
            "ops": kinds[:5],
            "replicas": replicas,
            "workers": processes,
            "batch_per_replica": each,
            "parameters": parameters,
        },
        knob=f"visible_devices={one}" if one and (processes or 1) == 1 else None,
        share=share,
    )


def _sizes(replicas: int | None, processes: int | None, each: float | None, parameters: int | None) -> list[str]:
    known = [
        *([f"{processes} processes"] if processes else []),
        *([f"{replicas} replicas"] if replicas else []),
        *([f"{each:.4g} examples each"] if each else []),
        *([f"{units.number(parameters)} parameters"] if parameters else []),
    ]
    return [", ".join(known)] if known else []
