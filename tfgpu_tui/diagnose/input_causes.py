"""Family C, why the step waits for input: the stage, Python, workers, prefetch, storage or the cores (pure).

`input.bound` says that it waits; each cause here stands beside it, with the numbers that prove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfgpu_tui import units
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.input_wait import (
    named,
    python_stage,
    serial_map,
    slowest_stage,
    stage_evidence,
    stage_label,
    stage_shares,
    waiting_share,
)
from tfgpu_tui.state import RunState

DOMINATES = 0.4
"""Share of the pipeline's time for a batch from which one stage is to blame."""
IDLE_WAIT = 0.5
"""Share of the waiting in which the training's processes computed nothing, from which they waited for something else."""
READ_BYTES_PER_STEP = 4096
FULL = 0.9
"""Share of the granted cores in use from which more stages at once can't help."""
THROTTLED_PERCENT = 10.0


def findings(state: RunState) -> Iterator[Finding]:
    """input.pydataset_single, input.storage, input.python, input.slow_stage; input.no_prefetch; input.cpu_starved."""
    share = waiting_share(state)
    if share is None:
        return
    starved = _cpu_starved(state, share)
    if starved is not None:
        yield starved
    else:
        yield from _stage(state, share)
    yield from _no_prefetch(state, share)


def _finding(name: str, share: float, **fields: Any) -> Finding:
    return Finding(id=name, severity="warning", share=share, **fields)


# -- the stage


def _stage(state: RunState, share: float) -> Iterator[Finding]:
    single = _pydataset_single(state, share)
    if single is not None:
        yield single
        return
    stage = slowest_stage(state)
    if stage is None:
        suspect = python_stage(state)
        if suspect is not None:
            yield _python(state, share, suspect, "how long each stage takes is unknown: " + _no_times(state))
        return
    part = _part(state, stage)
    if part < DOMINATES:
        return
    idle = idle_share(state)
    storage = _storage(state, share * part, stage, idle)
    if storage is not None:
        yield storage
    elif stage.get("python") and not (serial_map(stage) and idle is not None and idle >= IDLE_WAIT):
        yield _python(state, share * part, stage, None)
    elif serial_map(stage):
        yield _slow_stage(state, share * part, stage, idle)


def _part(state: RunState, stage: dict[str, Any]) -> float:
    stages = state.pipeline.stages if state.pipeline else []
    return next((s or 0.0 for known, s in zip(stages, stage_shares(stages), strict=True) if known is stage), 0.0)


def _no_times(state: RunState) -> str:
    return state.pipeline.note if state.pipeline is not None and state.pipeline.note else "no stage times yet"


def idle_share(state: RunState) -> float | None:
    """The part of the waiting (0..1) in which the training's processes used no core; None without CPU samples.

    The processor time of a step, less one core for the time in which the loop itself was at work, was used while it
    waited. Computing uses more than one core, so this is rather too small than too large.
    """
    shares = state.judged.shares()
    wait, cores = shares["input_wait"], cores_used(state)
    if wait is None or not wait or cores is None:
        return None
    working = min(max(cores - (1.0 - wait), 0.0) / wait, 1.0)
    return 1.0 - working


def cores_used(state: RunState) -> float | None:
    """Cores that the training's processes used on average while it trained."""
    percent = state.series["tree_cpu"].mean(state.first_step_t, state.last_step_t)
    return None if percent is None else percent / 100.0


def _slow_stage(state: RunState, share: float, stage: dict[str, Any], idle: float | None) -> Finding:
    what, per_batch = named(stage), float(stage["per_batch_us"]) / 1e6
    waits = idle is not None and idle >= IDLE_WAIT
    lines = [f"{stage_label(stage)}: {units.duration(per_batch)} a batch, one element at a time"]
    if waits:
        lines.append(f"no core is busy in {units.share(idle)} of the waiting: it waits rather than computes")
    return _finding(
        "input.slow_stage",
        share,
        title=f"One stage holds the pipeline up: {what} handles one element at a time",
        lines=lines,
        next=f"Give the map of {what} num_parallel_calls=tf.data.AUTOTUNE; the order of the elements stays.",
        knob=None if _input_knob(state) else "input=parallel",
        evidence={"stage": stage_evidence(stage), "idle_share_of_wait": _rounded(idle)},
    )


def _python(state: RunState, share: float, stage: dict[str, Any], incomplete: str | None) -> Finding:
    user = _user_time(state, stage)
    cores = cores_used(state)
    lines = []
    if user is not None:
        lines.append(f"{user['name']}: {units.duration(float(user['mean_us']) / 1e6)} a call, {user['calls']} calls")
    if stage.get("per_batch_us") is not None:
        lines.append(f"{stage_label(stage)}: {units.duration(float(stage['per_batch_us']) / 1e6)} a batch")
    if cores is not None:
        lines.append(f"the training uses {cores:.1f} of {_granted(state) or '?'} cores")
    return _finding(
        "input.python",
        share,
        title=f"Python makes the batches: {named(stage)}, with one interpreter lock for all of it",
        lines=lines or [_no_times(state)],
        next=(
            f"Write {named(stage)} with TensorFlow ops, or move it into a keras.utils.PyDataset with workers and "
            "use_multiprocessing=True: Python threads share one core."
        ),
        evidence={
            "stage": stage_evidence(stage),
            "user_ms_per_call": None if user is None else round(float(user["mean_us"]) / 1e3, 3),
            "cores_used": _rounded(cores),
        },
        incomplete=incomplete,
    )


def _user_time(state: RunState, stage: dict[str, Any]) -> dict[str, Any] | None:
    for entry in state.pipeline.user if state.pipeline else []:
        if entry.get("name") == stage.get("function") or entry.get("line") == stage.get("line"):
            return entry
    return None


def _pydataset_single(state: RunState, share: float) -> Finding | None:
    dataset = state.dataset
    if dataset is None or dataset.kind != "pydataset" or (dataset.workers or 1) > 1:
        return None
    user = next((u for u in (state.pipeline.user if state.pipeline else []) if u.get("kind") == "getitem"), None)
    lines = ["workers=1: each batch is made while the model waits for it"]
    if user is not None:
        lines.append(f"{user['name']}: {units.duration(float(user['mean_us']) / 1e6)} a batch")
    return _finding(
        "input.pydataset_single",
        share,
        title="The PyDataset makes one batch at a time (workers=1)",
        lines=lines,
        next=(
            "fit(…, workers=4, use_multiprocessing=True, max_queue_size=10)."
            if state.environment.keras_flavour in ("keras2", "tf_keras")
            else "In its __init__: super().__init__(workers=4, use_multiprocessing=True, max_queue_size=10)."
        ),
        evidence={
            "workers": dataset.workers or 1,
            "getitem_ms": None if user is None else round(float(user["mean_us"]) / 1e3, 3),
            "input_wait": round(share, 4),
        },
    )


# -- storage


def _storage(state: RunState, share: float, stage: dict[str, Any], idle: float | None) -> Finding | None:
    """Files or a network that the pipeline waits for: no core is busy, and bytes come in."""
    if idle is None or idle < IDLE_WAIT or not (stage.get("reads") or stage.get("python")):
        return None
    step_s = state.judged.mean_s or 0.0
    disk, net = (state.series[n].mean(state.first_step_t, state.last_step_t) for n in ("disk_read", "net_recv"))
    rates = {"storage": disk, "the network": net}
    if not any(rate is not None and rate * step_s >= READ_BYTES_PER_STEP for rate in rates.values()):
        return None
    source, rate = max(((k, v) for k, v in rates.items() if v is not None), key=lambda kv: kv[1])
    what = named(stage)
    return _finding(
        "input.storage",
        share,
        title=f"The pipeline waits for {source}: {what} reads {units.size(rate)} a second while the cores are idle",
        lines=[
            f"{stage_label(stage)}: {units.duration(float(stage['per_batch_us']) / 1e6)} a batch",
            f"no core is busy in {units.share(idle)} of the waiting",
        ],
        next=(
            "Copy the data to a local disk first, or keep it in few large TFRecord files and read several at once "
            "(interleave with num_parallel_calls=tf.data.AUTOTUNE)."
        ),
        knob=None if _input_knob(state) or not serial_map(stage) else "input=parallel",
        evidence={
            "stage": stage_evidence(stage),
            "idle_share_of_wait": _rounded(idle),
            "disk_read_bytes_per_s": _rounded(disk),
            "net_received_bytes_per_s": _rounded(net),
        },
    )


# -- prefetch


def _no_prefetch(state: RunState, share: float) -> Iterator[Finding]:
    pipeline = state.pipeline
    if pipeline is None or not pipeline.stages:
        return
    if any(str(stage.get("stage")).startswith("Prefetch") for stage in pipeline.stages):
        return
    options = pipeline.options
    switched_off = [name for name in ("autotune", "inject_prefetch") if options.get(name) is False]
    if not switched_off:
        return  # TensorFlow adds a prefetch by itself, whether or not it shows in the stages that are known.
    compute = 1.0 - share
    yield _finding(
        "input.no_prefetch",
        min(share, compute),
        title="Nothing prepares the next batch while the model computes: the pipeline has no prefetch",
        lines=[
            f"the script switched off {' and '.join(switched_off)}, so TensorFlow adds no prefetch by itself",
            f"waiting and computing come one after the other: {units.share(share)} and {units.share(compute)} of a step",
        ],
        next="End the pipeline with .prefetch(tf.data.AUTOTUNE).",
        knob=None if _input_knob(state) else "input=prefetch",
        evidence={"input_wait": round(share, 4), "rest": round(compute, 4), **{k: options.get(k) for k in options}},
    )


def _input_knob(state: RunState) -> bool:
    """Whether this run already has the knob in use."""
    return state.run is not None and bool(state.run.knobs.get("input"))


# -- cores


def _granted(state: RunState) -> float | None:
    """Cores that the training may use, the quota of its cgroup included."""
    known = [v for v in (state.environment.cpu_count, state.environment.cpu_quota) if v]
    return min(known) if known else None


def _cpu_starved(state: RunState, share: float) -> Finding | None:
    """The pipeline could run more at once, had it more cores."""
    granted, cores = _granted(state), cores_used(state)
    throttled = state.series["throttled"].mean(state.first_step_t, state.last_step_t)
    held_back = throttled is not None and throttled >= THROTTLED_PERCENT
    stage = slowest_stage(state)
    parallel = stage is not None and not stage.get("python") and (stage.get("parallelism") or 1) > 1
    full = granted is not None and cores is not None and cores >= FULL * granted
    if not held_back and not (full and (parallel or granted == 1)):
        return None
    words = f"{cores:.1f} of {granted:g} cores in use" if granted is not None and cores is not None else ""
    lines = [words] if words else []
    if held_back:
        lines.append(f"the CPU quota holds the training back in {units.percent(throttled)} of the time")
    if stage is not None and parallel:
        lines.append(f"{stage_label(stage)} runs {stage['parallelism']:g} at a time and can't get more")
    return _finding(
        "input.cpu_starved",
        share,
        title="Too few cores for the input pipeline: "
        + (f"all {granted:g} granted ones are in use" if full else "the CPU quota is used up"),
        lines=lines,
        next=(
            "Ask for more cores (--cpus, resources.limits.cpu, --cpus-per-task), or make the batches cheaper: decode and "
            "resize once, and keep the result with cache() or in TFRecord files."
        ),
        evidence={
            "cores_granted": granted,
            "cores_used": _rounded(cores),
            "throttled_percent": _rounded(throttled),
            "input_wait": round(share, 4),
            "stage": None if stage is None else stage_evidence(stage),
        },
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
