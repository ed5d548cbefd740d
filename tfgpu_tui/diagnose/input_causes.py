"""Family C, why the step waits for input: the stage, Python, workers, prefetch, storage or the cores (pure).

`input.bound` says that it waits; each cause here stands beside it, with the numbers that prove it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import Stage, UserFunction
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.input_machine import (
    IDLE_WAIT,
    cores_granted,
    cores_used,
    cpu_starved,
    idle_share,
    rounded,
)
from tfgpu_tui.diagnose.input_storage import storage
from tfgpu_tui.diagnose.lines import feed_lines
from tfgpu_tui.diagnose.stages import (
    EXPLAINS,
    batch_s,
    explains,
    input_knob,
    made_ahead,
    named,
    prefetch_off,
    python_stage,
    serial_map,
    slowest_stage,
    stage_evidence,
    stage_label,
    stage_shares,
)

_WAITS_OR_COMPUTES = "whether this Python computes or waits is unknown: all cores were busy, perhaps with others' work"
DOMINATES = 0.4
"""Share of the pipeline's time for a batch from which one stage is to blame."""


def causes(state: RunState, share: float) -> Iterator[Finding]:
    """What explains that `share` of step time waits: input.cpu_starved, or else one of input.pydataset_single,
    input.storage, input.python and input.slow_stage; and input.no_prefetch."""
    starved = cpu_starved(state, share)
    if starved is not None:
        yield starved
    else:
        yield from _stage(state, share)
    yield from _no_prefetch(state, share)


# -- the stage


def _stage(state: RunState, share: float) -> Iterator[Finding]:
    single = _pydataset_single(state, share)
    if single is not None:
        yield single
        return
    stage = slowest_stage(state)
    if stage is None:
        suspect = python_stage(state)
        if suspect is not None and not _quick(state, suspect):
            yield _python(state, share, suspect, "how long each stage takes is unknown: " + _no_times(state))
        return
    part = _part(state, stage)
    if part < DOMINATES or not explains(state, share * (state.judged.mean_s or 0.0)):
        return
    idle = idle_share(state)
    slow_reads = storage(state, share * part, stage, idle)
    if slow_reads is not None:
        yield slow_reads
    elif stage.get("python") and not (serial_map(stage) and idle is not None and idle >= IDLE_WAIT):
        unsure = serial_map(stage) and idle is None
        yield _python(state, share * part, stage, _WAITS_OR_COMPUTES if unsure else None)
    elif serial_map(stage):
        yield _slow_stage(state, share * part, stage, idle)


def _quick(state: RunState, stage: Stage) -> bool:
    """Whether a PyDataset's workers, by their own clocks, make its batches in less time than the steps leave them: then
    they are not what is waited for."""
    user = _user_time(state, stage)
    each_s = None if user is None else _call_s(user)
    if each_s is None or state.dataset is None or not made_ahead(state):
        return False
    return each_s / (state.dataset.workers or 1) < EXPLAINS * (state.judged.mean_s or 0.0)


def _part(state: RunState, stage: Stage) -> float:
    stages = state.pipeline.stages if state.pipeline else []
    return next((s or 0.0 for known, s in zip(stages, stage_shares(stages), strict=True) if known is stage), 0.0)


def _no_times(state: RunState) -> str:
    return state.pipeline.note if state.pipeline is not None and state.pipeline.note else "no stage times yet"


def _slow_stage(state: RunState, share: float, stage: Stage, idle: float | None) -> Finding:
    what, per_batch = named(stage, state.places), batch_s(stage)
    waits = idle is not None and idle >= IDLE_WAIT
    lines = [f"{stage_label(stage, state.places)}: {units.duration(per_batch)} a batch, one element at a time"]
    if waits:
        lines.append(f"no core is busy in {units.share(idle)} of the waiting: it waits rather than computes")
    return Finding(
        id="input.slow_stage",
        severity="warning",
        share=share,
        title=f"One stage holds the pipeline up: {what} handles one element at a time",
        lines=lines,
        next=f"Give the map of {what} num_parallel_calls=tf.data.AUTOTUNE; the order of the elements stays.",
        knob=None if input_knob(state) else "input=parallel",
        evidence={"stage": stage_evidence(stage), "idle_share_of_wait": rounded(idle)},
    )


def _python(state: RunState, share: float, stage: Stage, incomplete: str | None) -> Finding:
    user = _user_time(state, stage)
    cores = cores_used(state)
    trial = incomplete == _WAITS_OR_COMPUTES and not input_knob(state)
    lines = []
    if user is not None:
        lines.append(f"{user.get('name')}: {units.duration(_call_s(user))} a call, {user.get('calls')} calls")
    if stage.get("per_batch_us") is not None:
        lines.append(f"{stage_label(stage, state.places)}: {units.duration(batch_s(stage))} a batch")
    seen = feed_lines(state)
    lines += [line.sentence() for line in seen[:2]]
    if cores is not None:
        lines.append(f"the training uses {cores:.1f} of {cores_granted(state) or '?'} cores")
    return Finding(
        id="input.python",
        severity="warning",
        share=share,
        title=f"Python makes the batches: {named(stage, state.places)}, {_how(state)}",
        lines=lines or [_no_times(state)],
        next=(
            f"Try num_parallel_calls=tf.data.AUTOTUNE for {named(stage, state.places)}: it helps where it waits "
            "(files, a network); where it computes, write it with TensorFlow ops."
            if trial
            else _instead_of_python(state, stage)
        ),
        knob="input=parallel" if trial else None,
        evidence={
            "stage": stage_evidence(stage),
            "user_ms_per_call": _call_ms(user),
            "cores_used": rounded(cores),
            "script_lines": [line.evidence() for line in seen],
        },
        incomplete=incomplete,
    )


def _in_processes(state: RunState) -> bool:
    return state.dataset is not None and bool(state.dataset.processes) and (state.dataset.workers or 1) > 1


def _how(state: RunState) -> str:
    if state.dataset is not None and _in_processes(state):
        return f"in {state.dataset.workers} processes"
    return "with one interpreter lock for all of it"


def _instead_of_python(state: RunState, stage: Stage) -> str:
    what, dataset = named(stage, state.places), state.dataset
    if dataset is not None and dataset.kind == "pydataset":
        if _in_processes(state):
            return f"{what} runs in {dataset.workers} processes: give it more of them (workers=), or make it cheaper."
        return (
            f"{what} runs in {dataset.workers} workers: give it more of them, use_multiprocessing=True (threads "
            "share one interpreter lock), or make it cheaper."
        )
    if "Generator" in str(stage.get("stage")):
        return (
            f"Read with tf.data ops in place of {what}: it makes one element at a time. Or move it into a "
            "keras.utils.PyDataset with workers and use_multiprocessing=True."
        )
    return f"Write {what} with TensorFlow ops; as Python its parallel calls share one interpreter lock."


def _user_time(state: RunState, stage: Stage) -> UserFunction | None:
    for entry in state.pipeline.user if state.pipeline else []:
        if entry.get("name") == stage.get("function") or entry.get("line") == stage.get("line"):
            return entry
    return None


def _call_s(user: UserFunction) -> float | None:
    mean_us = user.get("mean_us")
    return None if mean_us is None else mean_us / 1e6


def _call_ms(user: UserFunction | None) -> float | None:
    mean_us = user.get("mean_us") if user is not None else None
    return None if mean_us is None else round(mean_us / 1e3, 3)


def _pydataset_single(state: RunState, share: float) -> Finding | None:
    dataset = state.dataset
    if dataset is None or dataset.kind != "pydataset" or (dataset.workers or 1) > 1:
        return None
    user = next((u for u in (state.pipeline.user if state.pipeline else []) if u.get("kind") == "getitem"), None)
    lines = ["workers=1: each batch is made while the model waits for it"]
    if user is not None:
        lines.append(f"{user.get('name')}: {units.duration(_call_s(user))} a batch")
    seen = feed_lines(state)
    lines += [line.sentence() for line in seen[:2]]
    return Finding(
        id="input.pydataset_single",
        severity="warning",
        share=share,
        title="The PyDataset makes one batch at a time (workers=1)",
        lines=lines,
        next=(
            "fit(…, workers=4, use_multiprocessing=True, max_queue_size=10)."
            if state.environment.keras_flavour in ("keras2", "tf_keras")
            else "In its __init__: super().__init__(workers=4, use_multiprocessing=True, max_queue_size=10)."
            if user is not None  # then the class is the script's own
            else "Set .workers = 4 and .use_multiprocessing = True on it before fit: it is a keras.utils.PyDataset."
        ),
        evidence={
            "workers": dataset.workers or 1,
            "getitem_ms": _call_ms(user),
            "input_wait": round(share, 4),
            "script_lines": [line.evidence() for line in seen],
        },
    )


# -- prefetch


def _no_prefetch(state: RunState, share: float) -> Iterator[Finding]:
    switched_off = prefetch_off(state)
    if not switched_off:
        return  # Otherwise TensorFlow adds a prefetch by itself, whether or not it shows in the stages that are known.
    compute = 1.0 - share
    yield Finding(
        id="input.no_prefetch",
        severity="warning",
        share=min(share, compute),
        title="Nothing prepares the next batch while the model computes: the pipeline has no prefetch",
        lines=[
            f"the script switched off {' and '.join(switched_off)}, so TensorFlow adds no prefetch by itself",
            f"waiting and computing take turns: {units.share(share)} and {units.share(compute)} of a step",
        ],
        next="End the pipeline with .prefetch(tf.data.AUTOTUNE).",
        knob=None if input_knob(state) else "input=prefetch",
        evidence={"input_wait": round(share, 4), "rest": round(compute, 4), "switched_off": switched_off},
    )
