"""The memory of a process: TensorFlow's allocators, and its resident memory by the step (pure)."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import MemoryDevice, MemoryUse
from tfgpu_tui.core.series import BUCKETS, Decimated, Series
from tfgpu_tui.core.totals import Training

TRAININGS = 256


@dataclass
class Memory:
    """What it holds, and what makes it grow."""

    tf_memory: dict[str, MemoryUse] = field(default_factory=dict)
    tf_memory_series: dict[str, Series] = field(default_factory=dict)
    tf_memory_by_step: dict[str, Decimated] = field(default_factory=dict)
    """By device: (training steps, bytes in tensors), once a second of training."""
    tf_peak_by_step: dict[str, Decimated] = field(default_factory=dict)
    """By device, at the same moments: (training steps, the most bytes so far), as the allocator counts it."""
    process_memory: dict[int, Decimated] = field(default_factory=dict)
    """By process that trains: (its training steps, its resident bytes), measured in the process itself."""
    trainings: dict[tuple[int | None, int], Training] = field(default_factory=dict)
    """The latest ones by process and number of the fit, in the order in which they began."""
    growth_causes: list[ev.GrowthCause] = field(default_factory=list)
    array_copies: dict[str, ev.ArrayCopy] = field(default_factory=dict)
    """By device."""
    memory_buckets: int = BUCKETS
    """Of each of these series."""


def tf_memory(memory: Memory, e: ev.TfMemory, steps: int = 0, fit: int = 0) -> None:
    """`steps`: training steps done, in `fit` the newest; 0 where none is."""
    _by_step(memory, e, steps, fit)
    for device in e.devices:
        name, current = device["device"], device.get("current_bytes")
        before = memory.tf_memory.get(name, {})
        peak = max(device.get("peak_bytes") or 0, before.get("peak_bytes") or 0) or None
        told: MemoryDevice = {**before, **device, "peak_bytes": peak}
        memory.tf_memory[name] = told
        if current is not None:
            series = memory.tf_memory_series.setdefault(name, Series(memory.memory_buckets))
            series.add(e.t, float(current))


def _by_step(memory: Memory, e: ev.TfMemory, steps: int, fit: int) -> None:
    """Only where steps were done since the last time: what changes between trainings is not theirs."""
    held = 0
    for device in e.devices:
        name, current, peak = device["device"], device.get("current_bytes"), device.get("peak_bytes")
        points = memory.tf_memory_by_step.get(name)
        if current is None or peak is None or not steps or (points and points.latest_x >= steps):
            continue
        if points is None and len(memory.tf_memory_by_step) >= 16:
            continue
        memory.tf_memory_by_step.setdefault(name, Decimated()).add(float(steps), float(current))
        memory.tf_peak_by_step.setdefault(name, Decimated()).add(float(steps), float(peak))
        held += current
    if held and fit:
        training(memory, e.pid, fit).gpu_memory.add(float(steps), float(held))


def process_memory(memory: Memory, e: ev.ProcessMemory) -> None:
    if e.pid is None or (e.pid not in memory.process_memory and len(memory.process_memory) >= 16):
        return
    points = memory.process_memory.setdefault(e.pid, Decimated())
    for step, size, *fit in e.points:
        points.add(float(step), float(size))
        if fit and fit[0]:
            training(memory, e.pid, fit[0]).memory.add(float(step), float(size))


def training(memory: Memory, pid: int | None, fit: int) -> Training:
    """What is known of one fit."""
    key = pid, fit
    if key not in memory.trainings:
        memory.trainings[key] = Training(fit)
        if len(memory.trainings) > TRAININGS:
            del memory.trainings[next(iter(memory.trainings))]
    return memory.trainings[key]


def growth_cause(memory: Memory, e: ev.GrowthCause) -> None:
    memory.growth_causes = [*memory.growth_causes[-9:], e]


def array_copy(memory: Memory, e: ev.ArrayCopy) -> None:
    if len(memory.array_copies) < 64:
        memory.array_copies[e.device] = e
