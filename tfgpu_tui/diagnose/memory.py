"""Family E: memory (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tfgpu_tui import units
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.state import RunState

MIN_POINTS = 48
MIN_GROWTH_BYTES = 16 * 2**20
WARMUP_SHARE = 0.3
WINDOWS = 6
NOTICEABLE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Growth:
    """How the training's memory changes by the step, after warm-up."""

    bytes_per_step: float
    total_bytes: float
    growing: bool


def host_growth(points: list[tuple[float, float]]) -> Growth | None:
    """Slope of (step, bytes) and whether it is a leak; None while there are too few points.

    The first 30 % are dropped (allocators and buffers fill). The slope is Theil and Sen's median of pairwise slopes; it
    counts as growth when at least 4 of 5 steps between the medians of six windows rise and 16 MiB came together.
    """
    kept = points[int(len(points) * WARMUP_SHARE) :]
    if len(points) < MIN_POINTS or len(kept) < WINDOWS * 3:
        return None
    thin = kept[:: max(1, len(kept) // 60)]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(thin) for x2, y2 in thin[i + 1 :] if x2 != x1]
    if not slopes:
        return None
    width = len(kept) // WINDOWS
    medians = [median(y for _, y in kept[i * width : (i + 1) * width]) for i in range(WINDOWS)]
    rises = sum(b > a + NOTICEABLE_BYTES for a, b in pairwise(medians))
    total = medians[-1] - medians[0]
    return Growth(median(slopes), total, rises >= WINDOWS - 2 and total > MIN_GROWTH_BYTES)


def findings(state: RunState) -> Iterator[Finding]:
    """memory.host_growth, memory.preallocated."""
    yield from _host_growth(state)
    yield from _preallocated(state)


def _host_growth(state: RunState) -> Iterator[Finding]:
    growth = host_growth(state.rss_by_step.points)
    if growth is None or not growth.growing:
        return
    retraces = state.judged.traces
    retracing = retraces >= max(5, 0.02 * state.judged.steps)
    yield Finding(
        id="memory.host_growth",
        severity="warning",
        title=f"Host memory grows by {units.size(growth.bytes_per_step)} a step",
        lines=[
            f"{units.size(growth.total_bytes)} more since warm-up, {units.size(state.rss_peak_bytes)} at its highest",
            f"{retraces} functions were traced again meanwhile: each keeps its graph"
            if retracing
            else "no retracing: tensors or arrays are kept somewhere (a list of losses, a history, a cache)",
        ],
        next=(
            "Stop the retracing: pass tensors instead of Python numbers, or give tf.function an input_signature."
            if retracing
            else "Look for what keeps tensors from step to step; append float(loss) instead of loss."
        ),
        evidence={
            "kib_per_step": round(growth.bytes_per_step / 1024, 2),
            "total_mib": round(growth.total_bytes / 2**20, 1),
            "retraces": retraces,
        },
    )


def _preallocated(state: RunState) -> Iterator[Finding]:
    """TensorFlow took nearly the whole GPU while the model uses a part of it."""
    if state.run is not None and state.run.knobs.get("memory_growth") == "on":
        return  # What is taken now was needed once.
    for view in state.gpus.values():
        total = view.latest.get("memory_total_bytes")
        mine = sum(p.get("memory_bytes") or 0 for p in view.latest.get("processes") or () if p.get("ours"))
        device = next((g.get("device") for g in state.environment.tf_gpus or () if g.get("uuid") == view.uuid), None)
        peak = (state.tf_memory.get(str(device)) or {}).get("peak_bytes")
        if not total or not mine or not peak or mine < 0.8 * total or peak > 0.5 * mine:
            continue
        yield Finding(
            id="memory.preallocated",
            severity="info",
            title=f"GPU {view.index} looks full, yet the model uses {units.size(peak)} of {units.size(mine)} reserved",
            lines=["TensorFlow reserves nearly all GPU memory at its start unless memory growth is on"],
            next="Memory growth shows the real need and leaves the rest to others: Enter reruns with it.",
            evidence={
                "gpu": view.index,
                "reserved_mib": mine >> 20,
                "peak_in_use_mib": peak >> 20,
                "total_mib": total >> 20,
            },
            knob="memory_growth=on",
        )
