"""The GPUs as NVML and TensorFlow's own messages show them (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.parts.machine import held_since
from tfgpu_tui.core.totals import GpuView

DIAGNOSTICS = 64


@dataclass
class Devices:
    """What is in the machine, whoever uses it."""

    gpu_status: ev.GpuSample | None = None
    gpu_read_ms: tuple[int, float, float] = (0, 0.0, 0.0)
    """Samples of the GPUs, and their sum and largest of milliseconds in the driver."""
    preflight: ev.Preflight | None = None
    diagnostics: dict[tuple[str, ...], ev.Diagnostic] = field(default_factory=dict)
    """TensorFlow's own messages, in the order in which they first came; keyed by what they say."""
    gpus: dict[str, GpuView] = field(default_factory=dict)
    out_of_memory: ev.OutOfMemory | None = None
    """The last allocation that failed."""
    out_of_memory_count: int = 0


def preflight(devices: Devices, e: ev.Preflight) -> None:
    devices.preflight = e


def diagnostic(devices: Devices, e: ev.Diagnostic) -> None:
    key = (e.id, *(f"{name}={value}" for name, value in sorted(e.values.items())))
    if key in devices.diagnostics or len(devices.diagnostics) < DIAGNOSTICS:
        devices.diagnostics[key] = e


def out_of_memory(devices: Devices, e: ev.OutOfMemory) -> None:
    devices.out_of_memory = e
    devices.out_of_memory_count += 1


def listed(devices: Devices, e: ev.Environment) -> None:
    """TensorFlow lists its GPUs."""
    for gpu in e.tf_gpus or ():
        view = devices.gpus.get(str(gpu.get("uuid")))
        if view is not None:
            view.ours = True


def gpu_sample(devices: Devices, e: ev.GpuSample, ours: set[str]) -> None:
    """`ours`: the uuids of GPUs that TensorFlow listed."""
    devices.gpu_status = e
    if e.read_ms is not None:
        count, total, largest = devices.gpu_read_ms
        devices.gpu_read_ms = (count + 1, total + e.read_ms, max(largest, e.read_ms))
    for gpu in e.gpus:
        index = gpu.get("index")
        if not isinstance(index, int):
            continue
        key = str(gpu.get("uuid") or f"index {index}")
        view = devices.gpus.setdefault(key, GpuView(index=index, uuid=gpu.get("uuid")))
        view.name = gpu.get("name") or view.name
        since = held_since(e.t, view.seen)
        view.seen = e.t
        # Slow-tier fields (processes, …) come only now and then: what a sample leaves out keeps its last value.
        error, throttle = gpu.get("error"), gpu.get("throttle")
        view.latest = {**view.latest, **gpu, "error": error}
        view.lost = None if not error else view.lost or (e.t, error)
        if throttle is not None:
            view.samples += 1
            for reason in throttle:
                view.throttled[reason] = view.throttled.get(reason, 0) + 1
        parts = (gpu, *(gpu.get("slices") or ()))  # under MIG TensorFlow sees slices
        view.ours = (
            view.ours
            or any(str(part.get("uuid")) in ours for part in parts)
            or any(p.get("ours") for part in parts for p in part.get("processes") or ())
        )
        for series, value in ((view.busy, gpu.get("busy_percent")), (view.memory, gpu.get("memory_used_bytes")),
                              (view.power, gpu.get("power_w"))):  # fmt: skip
            if value is not None:
                series.add_span(since, e.t, float(value))
