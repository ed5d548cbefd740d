"""Family C: what the machine gives to the input pipeline: cores that are busy, idle or taken (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.stages import slowest_stage, stage_evidence, stage_label

IDLE_WAIT = 0.5
"""Share of the waiting in which the training's processes computed nothing, from which it is no lack of cores."""
FAIR_SHARE = 0.3
"""Cores that a thread which wants one gets even on a machine that is full: who uses less does not want one."""
OWN = 0.7
"""Share of its cores that the training uses itself, below which cores that are full are so by others' work."""
FULL = 0.85
"""Share of the granted cores in use from which more stages at once can't help."""
THROTTLED_PERCENT = 10.0


def idle_share(state: RunState) -> float | None:
    """The part of the waiting (0..1) in which the training's processes used no core; None without CPU samples, and
    where they may have waited for a core themselves.

    The processor time of a step, less one core for the time in which the loop itself was at work, was used while it
    waited. Computing uses more than one core, so this is rather too small than too large.
    """
    shares = state.judged.shares()
    wait, cores = shares["input_wait"], cores_used(state)
    if wait is None or not wait or cores is None or (cores_full(state) and cores > FAIR_SHARE):
        return None
    working = min(max(cores - (1.0 - wait), 0.0) / wait, 1.0)
    return 1.0 - working


def cores_used(state: RunState) -> float | None:
    """Cores that the training's processes used while it trained."""
    percent = typical(state, "tree_cpu")
    return None if percent is None else percent / 100.0


def cores_full(state: RunState) -> bool:
    """Whether all cores that the training may use were busy, whoever used them."""
    percent = busy_percent(state)
    return percent is not None and percent >= 100 * FULL


def busy_percent(state: RunState) -> float | None:
    """How busy the cores were that the training may use, while it trained."""
    return typical(state, "granted_cores")


def typical(state: RunState, name: str) -> float | None:
    """The median of a series while it trained: a pause of the machine, or one large read, does not decide. None where
    nothing was measured."""
    begin, end = state.first_step_t, state.last_step_t
    if begin is None or end is None:
        return None
    return state.series[name].typical(begin, end)


def cores_granted(state: RunState) -> float | None:
    """Cores that the training may use, the quota of its cgroup included."""
    known = [v for v in (state.environment.cpu_count, state.environment.cpu_quota) if v]
    return min(known) if known else None


def cpu_starved(state: RunState, share: float) -> Finding | None:
    """The pipeline could run more at once, had it more cores."""
    granted, cores = cores_granted(state), cores_used(state)
    throttled = typical(state, "throttled")
    held_back = throttled is not None and throttled >= THROTTLED_PERCENT
    stage = slowest_stage(state)
    parallel = stage is not None and not stage.get("python") and (stage.get("parallelism") or 1) > 1
    full = cores_full(state) or (granted is not None and cores is not None and cores >= FULL * granted)
    if not held_back and not (full and (parallel or granted == 1)):
        return None
    others = full and granted is not None and cores is not None and cores < OWN * granted
    lines = []
    if granted is not None and cores is not None:
        rest = ", and other programs use the rest" if others else ""
        lines.append(f"the training uses {cores:.1f} of {granted:g} cores{rest}")
    if held_back:
        lines.append(f"the CPU quota holds the training back in {units.percent(throttled)} of the time")
    if stage is not None and parallel:
        lines.append(f"{stage_label(stage, state.places)} runs {stage['parallelism']:g} at a time and can't get more")
    why = "all that it may use are busy" if full else "the CPU quota is used up"
    cure = (
        "Ask for more cores (--cpus, resources.limits.cpu, --cpus-per-task), or make the batches cheaper: decode and "
        "resize once, and keep the result with cache() or in TFRecord files."
    )
    if others:
        why = "other programs keep them busy"
        cure = "End the other programs, or run where nothing else does (ps aux --sort=-%cpu | head names them)."
    return Finding(
        id="input.cpu_starved",
        severity="warning",
        share=share,
        title=f"Too few cores for the input pipeline: {why}",
        lines=lines,
        next=cure,
        evidence={
            "cores_granted": granted,
            "cores_used": rounded(cores),
            "granted_cores_busy_percent": rounded(busy_percent(state)),
            "throttled_percent": rounded(throttled),
            "input_wait": round(share, 4),
            "stage": None if stage is None else stage_evidence(stage),
        },
    )


def rounded(value: float | None) -> float | None:
    """To four digits after the point."""
    return None if value is None else round(value, 4)
