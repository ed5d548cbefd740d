"""What the GPUs do during a run: one is lost, others hold its memory, some stay idle or hold the rest back (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from tfgpu_tui.core import units
from tfgpu_tui.core.gpu_mapping import mapping
from tfgpu_tui.core.rows import GpuProcess
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.diagnose.finding import Finding

FOREIGN_SHARE, FOREIGN_BYTES = 0.05, 512 << 20
"""Of a GPU's memory held by others, from which it is said: a desktop takes less."""
FOREIGN_WARNING_SHARE = 0.25
FOREIGN_BUSY_PERCENT = 10.0
IDLE_PERCENT, WORKING_PERCENT = 3.0, 15.0
"""GPU busy below which a GPU idles, while another one works at least so much."""
LOOKED_AT_S = 10.0
"""Training time over which idleness is judged."""
GOES_ON_S = 2.0
"""Steps so long after a GPU stopped answering show that the training does not miss it."""
SLOW_CLOCK = 0.75
"""Of the median clock of the others: from there on a GPU holds them back, since replicas wait for the slowest."""


def findings(state: RunState) -> Iterator[Finding]:
    """gpu.lost, memory.foreign, run.multi_gpu_idle."""
    yield from _lost(state)
    yield from _foreign(state)
    yield from _idle(state)


def ours(state: RunState) -> list[GpuView]:
    """The GPUs that this run uses, by index."""
    return sorted((view for view in state.gpus.values() if view.ours), key=lambda view: view.index)


def _lost(state: RunState) -> Iterator[Finding]:
    for view in sorted(state.gpus.values(), key=lambda v: (not v.ours, v.index)):
        if view.lost is None or not len(view.memory):
            continue  # Answers, or never did: then it was not lost in this run.
        since, why = view.lost
        others = [v for v in state.gpus.values() if v is not view and v.lost is None and v.uuid]
        goes_on = state.last_step_t is not None and state.last_step_t > since + GOES_ON_S
        severity, line = (
            ("info", "this run does not use it and goes on")
            if not view.ours
            else ("warning", "the training goes on all the same: only the driver's numbers of this GPU are missing")
            if goes_on
            else ("critical", "the training hangs or fails at its next step on this GPU")
        )
        rerun = view.ours and not goes_on and others
        yield Finding(
            id="gpu.lost",
            severity=severity,
            title=f"GPU {view.index} stopped answering: {why}",
            lines=[line],
            next="`dmesg | grep -i xid` names the fault; `nvidia-smi --gpu-reset` or a reboot brings the GPU back"
            + ("; Enter reruns on the others." if rerun else "."),
            evidence={"gpu": view.index, "uuid": view.uuid, "since": round(since, 1), "error": why, "goes_on": goes_on},
            knob="visible_devices=" + ",".join(str(v.uuid) for v in others) if rerun else None,
        )
        return


def _foreign(state: RunState) -> Iterator[Finding]:
    oom = any(d.id == "memory.oom" for d in state.diagnostics.values())
    for view in ours(state):
        total = view.latest.get("memory_total_bytes")
        foreign = [p for p in view.latest.get("processes") or () if p.get("ours") is False]
        held = sum(p.get("memory_bytes") or 0 for p in foreign)
        busy = sum(p.get("busy_percent") or 0.0 for p in foreign)
        if not total or view.lost or (held < max(FOREIGN_SHARE * total, FOREIGN_BYTES) and busy < FOREIGN_BUSY_PERCENT):
            continue
        grave = held >= FOREIGN_WARNING_SHARE * total or busy >= 2 * FOREIGN_BUSY_PERCENT or oom
        free = _freest(state, view)
        takes = "takes" if len(foreign) == 1 else "take"
        also = f" and {takes} {units.percent(busy)} of its time" if busy >= FOREIGN_BUSY_PERCENT else ""
        who = "Another process holds" if len(foreign) == 1 else f"{len(foreign)} other processes hold"
        yield Finding(
            id="memory.foreign",
            severity="warning" if grave else "info",
            title=f"{who} {units.size(held)} of {units.size(total)} on GPU {view.index}{also}",
            lines=[_words(p) for p in sorted(foreign, key=lambda p: -(p.get("memory_bytes") or 0))[:3]],
            next=f"Enter reruns on GPU {free.index}, which is free."
            if free is not None
            else "End those processes (`ps -fp PID` shows whose they are), or wait for them.",
            evidence={
                "gpu": view.index,
                "foreign_mib": held >> 20,
                "total_mib": total >> 20,
                "foreign_busy_percent": round(busy, 1),
                "processes": [{k: p.get(k) for k in ("pid", "name", "memory_bytes", "busy_percent")} for p in foreign],
            },
            knob=f"visible_devices={free.uuid}" if free is not None else None,
        )
        return


def _words(process: GpuProcess) -> str:
    name = f" ({process['name']})" if process.get("name") else ""
    return f"process {process['pid']}{name}: {units.size(process.get('memory_bytes'))}"


def _freest(state: RunState, taken: GpuView) -> GpuView | None:
    """A GPU like this one that nobody uses: its list of processes is known and empty."""
    same = [v for v in state.gpus.values() if v is not taken and v.name == taken.name and v.uuid and not v.lost]
    return next((v for v in same if v.latest.get("processes") == [] and not v.latest.get("slices")), None)


def _idle(state: RunState) -> Iterator[Finding]:
    begin, end = state.first_step_t, state.last_step_t
    listed = sorted({m.index for m in mapping(state) if m.index is not None and not m.doubt})
    views = {v.index: v for v in state.gpus.values() if v.index in listed and not v.lost}
    if len(views) < 2 or state.judged.steps < STEADY_STEPS or begin is None or end is None:
        return
    if end - begin < LOOKED_AT_S:
        return
    busy = {index: view.busy.mean(begin + LOOKED_AT_S / 2, end) for index, view in views.items()}
    known = {index: value for index, value in busy.items() if value is not None}
    if len(known) < 2 or max(known.values()) < WORKING_PERCENT:
        return
    replicas = state.model.replicas if state.model else None
    evidence: Mapping[str, object] = {"busy": {str(i): round(v, 1) for i, v in known.items()}, "replicas": replicas}
    idle = [index for index, value in known.items() if value < IDLE_PERCENT]
    if idle:
        held = sum(_held(views[i]) for i in idle)
        yield Finding(
            id="run.multi_gpu_idle",
            severity="warning",
            title=f"{len(idle)} of the {len(known)} GPUs that TensorFlow took stay idle",
            lines=[
                "busy: " + ", ".join(f"GPU {i} {units.percent(v)}" for i, v in sorted(known.items())),
                *([f"they still hold {units.size(held)} of memory, which nobody else can use"] if held else []),
            ],
            next="Train on all of them: tf.distribute.MirroredStrategy() around model and compile. Or leave them to "
            "others: CUDA_VISIBLE_DEVICES with the ones that work.",
            evidence={**evidence, "idle": idle, "held_mib": held >> 20},
        )
    elif (replicas or 1) > 1:
        yield from _slow_one(views, evidence)


def _held(view: GpuView) -> int:
    return sum(p.get("memory_bytes") or 0 for p in view.latest.get("processes") or () if p.get("ours"))


def _slow_one(views: dict[int, GpuView], evidence: Mapping[str, object]) -> Iterator[Finding]:
    """Replicas wait for the slowest: a GPU whose clock is held down, among others of the same kind."""
    clocks = {i: clock for i, v in views.items() if (clock := v.latest.get("sm_clock_mhz"))}
    for index, clock in clocks.items():
        view = views[index]
        others = [c for i, c in clocks.items() if i != index and views[i].name == view.name]
        reasons = [r for r, count in view.throttled.items() if count > view.samples / 2]
        if others and reasons and clock < SLOW_CLOCK * median(others):
            yield Finding(
                id="run.multi_gpu_idle",
                severity="warning",
                title=f"GPU {index} runs at {clock} MHz, the others at {median(others):.0f}: all replicas wait for it",
                lines=[f"held down by: {', '.join(reasons)}"],
                next="Look at its cooling and its power limit (nvidia-smi -q -d PERFORMANCE), or leave it out.",
                evidence={**evidence, "slow": index, "sm_clock_mhz": {str(i): c for i, c in clocks.items()}},
            )
            return
