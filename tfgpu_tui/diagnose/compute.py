"""Family F: the computation itself takes longer than it needs to, and why (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import units
from tfgpu_tui.core.rows import GraphFunction
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import Finding, severity_of

LONG_TRACE_S = 2.0
"""In all traces of a graph that holds an unrolled loop; below it nobody waits for them."""
TOLD_S = 10.0
"""From which it is told at least for information, however long the run is."""


def findings(state: RunState) -> Iterator[Finding]:
    """compute.unrolled, compute.python."""
    yield from _unrolled(state)
    yield from _python(state)


def _unrolled(state: RunState) -> Iterator[Finding]:
    """The unrolled loop that took longest to trace. Known before the first step ends."""
    worst = max(state.unrolled.values(), key=lambda loop: loop.seconds, default=None)
    if worst is None or worst.seconds < LONG_TRACE_S:
        return
    share = min(worst.seconds / state.wall_s, 1.0) if state.wall_s else 0.0
    severity = severity_of(share) or ("info" if worst.seconds >= TOLD_S else None)
    if severity is None:
        return
    place = f"{worst.file.rsplit('/', 1)[-1]}:{worst.line}"
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
        lines=[_function(function, told.steps) for function in told.functions[:3]],
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


def _function(function: GraphFunction, steps: int) -> str:
    file, line = str(function.get("file")).rsplit("/", 1)[-1], function.get("line")
    at = function.get("at")
    put = f", put into the graph at {at}" if at and at != f"{file}:{line}" else ""
    calls = function["calls"] / steps
    number = "once" if 0.9 <= calls <= 1.1 else f"{calls:.1f} times"
    return (
        f"{function['name']} ({file}:{line}): {units.duration(function['seconds'] / steps)} a step, called {number} a "
        f"step by {function.get('kind')}{put}"
    )
