"""Family E: GPU memory that grows with the steps, or with each training of a loop (pure).

What TensorFlow's allocator holds swings within each step, and is read at any moment of it. So two numbers must agree:
the floor of what is held rises, and so does the most that was ever held. Where a step always needs as much, the second
stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from tfgpu_tui.core import units
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import growth_by_training, host_growth
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.host_growth import MIN_GROWTH_BYTES, Growth, Points

FLOOR_OF = 3
"""Readings of which the lowest is taken: what is held between the swings of the steps."""
PEAK_SHARE = 0.5
"""Of the floor's growth, that the highest use must have grown by in the same time."""
WEIGHTY = 0.1
"""Of what TensorFlow may take, or of the GPU, from which growth with each training is a warning."""


def findings(state: RunState) -> Iterator[Finding]:
    """memory.gpu_growth: of the device that grows fastest."""
    each = growth_by_training.by_training(state, growth_by_training.gpu_memory)
    found: list[tuple[str, Growth]] = []
    for device, held in state.tf_memory_by_step.items():
        peaks = state.tf_peak_by_step.get(device)
        growth = gpu_growth(held.points, peaks.points if peaks else [], by_training=each is not None)
        if growth is not None and growth.growing:
            found.append((device, growth))
    if found:
        device, growth = max(found, key=lambda known: known[1].bytes_per_step)
        yield _finding(state, device, growth, each)


def gpu_growth(held: Points, peaks: Points, by_training: bool = False) -> Growth | None:
    """Growth of what an allocator holds by the step, from readings of (step, bytes) and of the most so far at the same
    moments; None while it can't be judged. With `by_training` the steps' own shape does not matter: it grows in jumps.
    """
    floor = [min(held[i : i + FLOOR_OF], key=lambda point: point[1]) for i in range(0, len(held), FLOOR_OF)]
    growth = host_growth.host_growth([point for point in floor for _ in range(FLOOR_OF)])
    begin = int(len(held) * host_growth.WARMUP_SHARE)
    if growth is None or len(peaks) != len(held):
        return None
    rose = peaks[-1][1] - peaks[begin][1]
    again = any(after < before for (_, before), (_, after) in pairwise(peaks))  # the script set it back
    enough = growth.total_bytes > MIN_GROWTH_BYTES and (growth.growing or by_training)
    return replace(growth, growing=enough and not again and rose >= PEAK_SHARE * growth.total_bytes)


def _finding(state: RunState, device: str, growth: Growth, each: growth_by_training.ByTraining | None) -> Finding:
    use = state.tf_memory.get(device, {})
    left = _left(state, device)
    if each is not None:
        title = f"Memory in use on {device} grows by {units.size(each.bytes_each)} with each training"
        words, step, cause = growth_by_training.words(each)
        lines = [words, f"{state.fits} trainings so far"]
    else:
        title = f"Memory in use on {device} grows by {units.size(growth.bytes_per_step)} a step"
        lines = _why(state)
        cause = "retracing" if len(lines) > 1 else None
        step = (
            "Look for tensors that are kept from step to step (losses, predictions, batches in a list): keep numbers, "
            "float(loss), or .numpy() copies on the host."
        )
    lines.append(f"{units.size(growth.total_bytes)} more since warm-up; now {units.size(use.get('current_bytes'))}")
    if left is not None and growth.bytes_per_step > 0:
        lines.append(f"at this rate it is full after {units.number(left / growth.bytes_per_step)} steps more")
    return Finding(
        id="memory.gpu_growth",
        severity="warning" if each is None or _weighs(state, device, growth) else "info",
        title=title,
        lines=lines,
        next=step,
        evidence={
            "device": device,
            "kib_per_step": round(growth.bytes_per_step / 1024, 2),
            "mib_per_training": None if each is None else round(each.bytes_each / 2**20, 2),
            "total_mib": round(growth.total_bytes / 2**20, 1),
            "current_mib": round((use.get("current_bytes") or 0) / 2**20, 1),
            "reserved_mib": None if (held := _reserved(state, device)) is None else held >> 20,
            "trainings": state.fits,
            "retraces": state.judged.traces,
            "cause": cause,
        },
        incomplete=None if cause is not None else "what holds it was not found",
    )


def _why(state: RunState) -> list[str]:
    steps, traces = state.judged.steps, state.judged.traces
    if steps and traces / steps >= host_growth.TRACES_A_STEP:
        return [
            f"functions are traced again and again ({traces / steps:.2g} a step)",
            "each trace keeps its graph, and the constants in it",
        ]
    return ["what TensorFlow's allocator holds between the steps rises; so does the most that it ever held"]


def _reserved(state: RunState, device: str) -> int | None:
    """Bytes that this run holds on the GPU, as NVML says it."""
    uuid = next((g.get("uuid") for g in state.environment.tf_gpus or () if g.get("device") == device), None)
    view = state.gpus.get(str(uuid))
    held = [p.get("memory_bytes") or 0 for p in view.latest.get("processes") or () if p.get("ours")] if view else []
    return sum(held) if held else None


def _room(state: RunState, device: str) -> int | None:
    """What TensorFlow may take on the device."""
    uuid = next((g.get("uuid") for g in state.environment.tf_gpus or () if g.get("device") == device), None)
    view = state.gpus.get(str(uuid))
    limit = state.tf_memory.get(device, {}).get("limit_bytes")
    return limit or (view.latest.get("memory_total_bytes") if view else None)


def _left(state: RunState, device: str) -> int | None:
    room, now = _room(state, device), state.tf_memory.get(device, {}).get("current_bytes")
    return None if room is None or now is None else max(0, room - now)


def _weighs(state: RunState, device: str, growth: Growth) -> bool:
    room = _room(state, device)
    return room is None or growth.total_bytes >= WEIGHTY * room
