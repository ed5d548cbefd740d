"""The GPUs as NVML and TensorFlow's own messages show them (pure)."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import rows
from tfgpu_tui.core.parts.machine import held_since
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.totals import GpuView

DIAGNOSTICS = 64
LOADED_PERCENT = 50.0
"""GPU busy from which a GPU works: an idle one lowers its clocks and its link by itself, to save power."""
SLOWED_CLOCK = 0.75
"""Of its highest clock, below which a GPU that works is slowed."""
LOADED_LINK = 0.2
"""Of what its PCIe link can carry, from which the link works, whatever the processors do."""
LANE_BYTES_PER_S = {1: 250e6, 2: 500e6, 3: 985e6, 4: 1969e6, 5: 3938e6, 6: 7563e6}
"""Generation of PCIe -> what a lane carries in one direction, less its coding (PCI-SIG's rates: 2.5, 5, 8, 16, 32 and
64 GT/s, of which 8b/10b leaves 80 %, 128b/130b 98.5 %, and the flits of generation 6 94.5 %)."""


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
        _under_load(view, gpu, e.t)
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


def link_bytes_per_s(generation: int | None, lanes: int | None) -> float | None:
    """What a PCIe link of this kind carries in one direction; None where that is not known."""
    a_lane = LANE_BYTES_PER_S.get(generation or 0)
    return a_lane * lanes if a_lane is not None and lanes else None


def _under_load(view: GpuView, gpu: rows.Gpu, t: float) -> None:
    """Clock and link of a GPU that works; an idle one lowers both."""
    busy, clock, highest = gpu.get("busy_percent"), gpu.get("sm_clock_mhz"), view.latest.get("sm_clock_max_mhz")
    works, throttle = busy is not None and busy >= LOADED_PERCENT, gpu.get("throttle")
    if works and throttle is not None and clock and highest:
        view.loaded_samples += 1
        view.loaded_clock.add(t, float(clock))
        for reason in throttle if clock < SLOWED_CLOCK * highest else ():
            view.slowed[reason] = view.slowed.get(reason, 0) + 1
    generation, lanes = gpu.get("pcie_generation"), gpu.get("pcie_width")
    carries, received = link_bytes_per_s(generation, lanes), gpu.get("pcie_rx_bytes_per_s")
    most = gpu.get("pcie_generation_max"), gpu.get("pcie_width_max")
    if carries is None or not generation or not lanes or most[0] is None or most[1] is None:
        return
    if works or (received is not None and received >= LOADED_LINK * carries):
        view.link_samples += 1
        view.link_below += generation < most[0] or lanes < most[1]
        if received is not None:
            view.link_received.add(t, received)
