"""The memory section of report.json (pure): the host's by the step, and each GPU's side by side."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core.rows import GpuProcess
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.diagnose.growth_by_training import by_training
from tfgpu_tui.diagnose.host_growth import training_growth, unknown_reason


def memory(state: RunState) -> dict[str, Any]:
    """`memory` of report.json."""
    growth = training_growth(state)
    each = by_training(state)
    cause = state.growth_causes[-1] if state.growth_causes else None
    failed = state.out_of_memory
    return {
        "host_peak_mib": _mib(state.rss_peak_bytes),
        "host_growth_kib_per_step": None if growth is None else round(growth.bytes_per_step / 1024, 2),
        "growing": None if growth is None else growth.growing,
        "host_growth_mib_per_training": None if each is None else round(each.bytes_each / 2**20, 2),
        "host_samples": max((len(s.points) for s in state.process_memory.values()), default=0),
        "growth_cause": None
        if cause is None
        else {
            "steps": cause.steps,
            "grown_mib": _mib(cause.resident_bytes),
            "traces": cause.traces,
            "python_blocks": cause.python_blocks,
            "containers": cause.containers,
        },
        "out_of_memory": None
        if failed is None
        else {
            "times": state.out_of_memory_count,
            "case": failed.case,
            "device": failed.device,
            "allocator": failed.allocator,
            "op": failed.op,
            "shape": failed.shape,
            "dtype": failed.dtype,
            "wanted_mib": _mib(failed.wanted_bytes),
            "in_use_mib": _mib(failed.in_use_bytes),
            "peak_mib": _mib(failed.peak_bytes),
            "pool_mib": _mib(failed.pool_bytes),
            "limit_mib": _mib(failed.limit_bytes),
            "largest_free_mib": _mib(failed.largest_free_bytes),
        },
        "killed_by_kernel": state.oom_kills,
        "gpu": [_gpu(state, device) for device in _devices(state)],
    }


def _devices(state: RunState) -> list[str]:
    """TensorFlow's GPUs: those that it listed and those whose allocator it told of."""
    return list(dict.fromkeys([*(str(g.get("device")) for g in state.environment.tf_gpus or ()), *state.tf_memory]))


def _view(state: RunState, device: str) -> GpuView | None:
    uuid = next((g.get("uuid") for g in state.environment.tf_gpus or () if g.get("device") == device), None)
    return state.gpus.get(str(uuid)) if uuid is not None else None


def _gpu(state: RunState, device: str) -> dict[str, Any]:
    told = state.tf_memory.get(device, {})
    view = _view(state, device)
    processes = view.latest.get("processes") if view else None
    growth = state.knobs_in_force.in_force.get("memory_growth") if state.knobs_in_force else None
    return {
        "device": device,
        "tf_current_mib": _mib(told.get("current_bytes")),
        "tf_peak_mib": _mib(told.get("peak_bytes")),
        "nvml_process_mib": _mib(_held(processes, ours=True)),
        "nvml_others_mib": _mib(_held(processes, ours=False)),
        "nvml_used_mib": _mib(view.memory.highest if view else None),
        "nvml_total_mib": _mib(view.latest.get("memory_total_bytes") if view else None),
        "limit_mib": _mib(told.get("limit_bytes")),
        "growth": growth,
    }


def _held(processes: list[GpuProcess] | None, ours: bool) -> int | None:
    """What our processes (or all others) hold: None where NVML lists none of ours, or does not say how much one has."""
    if processes is None:
        return None
    sizes = [p.get("memory_bytes") for p in processes if bool(p.get("ours")) is ours]
    if None in sizes or (ours and not sizes):
        return None
    return int(sum(size for size in sizes if size is not None))


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / 2**20, 1)


def unknown(state: RunState) -> dict[str, str]:
    """Why fields of this section are null or empty."""
    out: dict[str, str] = {}
    if training_growth(state) is None:
        out["memory.host_growth_kib_per_step"] = out["memory.growing"] = unknown_reason(state)
    if by_training(state) is None:
        out["memory.host_growth_mib_per_training"] = "told where memory grows as trainings start, one after the other"
    if not state.growth_causes:
        out["memory.growth_cause"] = "looked for only while memory grows steadily"
    if state.oom_kills is None:
        out["memory.killed_by_kernel"] = "neither the cgroup nor the kernel counts it here"
    devices = _devices(state)
    if not devices:
        out["memory.gpu"] = "TensorFlow uses no GPU in this run"
    for index, device in enumerate(devices):
        out |= {f"memory.gpu.{index}.{field}": reason for field, reason in _unknown_gpu(state, device).items()}
    return out


def _unknown_gpu(state: RunState, device: str) -> dict[str, str]:
    found = _gpu(state, device)
    view = _view(state, device)
    reasons: dict[str, str] = {}
    if found["tf_current_mib"] is None:
        reasons["tf_current_mib"] = reasons["tf_peak_mib"] = "TensorFlow's allocator told nothing (yet)"
    if found["limit_mib"] is None:
        reasons["limit_mib"] = "the script set no limit"
    if found["growth"] is None:
        notes = state.knobs_in_force.notes if state.knobs_in_force else {}
        reasons["growth"] = notes.get("memory_growth", "not read back yet: no step was done")
    for field in ("nvml_process_mib", "nvml_others_mib", "nvml_used_mib", "nvml_total_mib"):
        if found[field] is None:
            reasons[field] = (
                "NVML does not tell it of these processes" if view else "which of NVML's GPUs this is isn't known"
            )
    return reasons
