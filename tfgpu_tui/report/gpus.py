"""The GPUs' part of report.json: what NVML said, what TensorFlow makes of them, and its own messages (pure)."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core.gpu_mapping import devices_on, mapping
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import GpuView

LAST = (
    "memory_busy_percent", "temperature_c", "power_limit_w", "power_limit_default_w", "energy_j", "sm_clock_mhz",
    "sm_clock_max_mhz", "memory_clock_mhz", "memory_clock_max_mhz", "throttle", "pcie_generation",
    "pcie_generation_max", "pcie_generation_gpu_max", "pcie_width", "pcie_width_max",
    "pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s", "ecc_corrected", "ecc_uncorrected",
    "sm_active_percent", "tensor_active_percent", "dram_active_percent", "processes", "slices",
)  # fmt: skip
"""Fields of a GPU's sample that stand in the report as they were last read."""
_SOURCES = {
    "busy_mean": "busy_percent",
    "busy_training_mean": "busy_percent",
    "memory_used_peak_mib": "memory_used_bytes",
    "memory_total_mib": "memory_total_bytes",
    "memory_reserved_mib": "memory_reserved_bytes",
    "power_mean_w": "power_w",
}
"""Fields of the report -> the sample's field that they come from."""
_RATES = ("pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s", "sm_active_percent", "tensor_active_percent",
          "dram_active_percent")  # fmt: skip


def gpus(state: RunState) -> list[dict[str, Any]]:
    """`gpus`: one entry for each GPU that NVML shows, by index."""
    return [_gpu(state, view) for view in sorted(state.gpus.values(), key=lambda g: g.index)]


def _gpu(state: RunState, view: GpuView) -> dict[str, Any]:
    latest = view.latest
    out: dict[str, Any] = {
        "index": view.index,
        "uuid": view.uuid,
        "pci": latest.get("pci"),
        "name": view.name,
        "tf_devices": devices_on(state, view),
        "busy_mean": _rounded(view.busy.mean()),
        "busy_training_mean": _rounded(busy_in_training(state, view)),
        "memory_used_peak_mib": mib(view.memory.highest),
        "memory_total_mib": mib(latest.get("memory_total_bytes")),
        "memory_reserved_mib": mib(latest.get("memory_reserved_bytes")),
        "power_mean_w": _rounded(view.power.mean()),
        **{field: latest.get(field) for field in LAST},
        "throttled_share": {reason: round(n / view.samples, 3) for reason, n in view.throttled.items()},
        "ours": view.ours,
        "error": latest.get("error"),
    }
    out["unknown"] = {field: why for field in out if (why := _why_unknown(state, view, field, out[field])) is not None}
    return out


def _why_unknown(state: RunState, view: GpuView, field: str, value: Any) -> str | None:
    """Why this field of the report is null; None where it is not."""
    if value is not None or field in ("error", "uuid", "pci", "name"):
        return None
    reasons = view.latest.get("unknown") or {}
    why = reasons.get(_SOURCES.get(field, field))
    platform = state.preflight.facts.get("platform") if state.preflight else None
    if why is not None:
        shared = platform == "jetson" and field.startswith("memory_")
        return f"{why}: the GPU shares the host's memory" if shared else str(why)
    if view.latest.get("error"):
        return str(view.latest["error"])
    if field == "busy_training_mean":
        return "no sample fell between the first and the last training step"
    return "a rate needs two readings, five seconds apart" if field in _RATES else "not read"


def tensorflow_gpus(state: RunState) -> list[dict[str, Any]] | None:
    """`environment.gpus`: each GPU that TensorFlow lists, with NVML's number for it and the proofs; None before it was
    asked."""
    listed = state.environment.tf_gpus
    return None if listed is None else [{**g, **m.as_json()} for g, m in zip(listed, mapping(state), strict=True)]


def messages(state: RunState) -> list[dict[str, Any]] | None:
    """`environment.diagnostics`: TensorFlow's own messages, explained; None where its stderr can't be read."""
    if not state.diagnostics and state.environment.messages_from not in ("terminal", "file"):
        return None
    return [
        {"id": d.id, "level": d.level, "file": d.file, "meaning": d.meaning, "values": d.values, "count": d.count}
        for d in state.diagnostics.values()
    ]


def unknown(state: RunState) -> dict[str, str]:
    """Why fields of this part are null or empty: path -> reason."""
    out: dict[str, str] = {}
    if not state.gpus:
        status = state.gpu_status
        out["gpus"] = (status.message or status.status) if status else "the GPU sampler gave no sample"
    if state.environment.tf_gpus is None:
        out["environment.gpus"] = "no step of TensorFlow's own ran outside of a v1 session: it was not asked"
    if messages(state) is None:
        out["environment.diagnostics"] = (
            "the script's stderr goes straight to its caller's pipe or terminal, so it can't be read"
            if state.environment.messages_from == "nowhere"
            else "this run's journal does not say whether TensorFlow's messages were read"
        )
    if state.gpu_read_ms[0] == 0:
        out["monitor.gpu_read_ms"] = "no GPU was read"
    return out


def read_cost(state: RunState) -> dict[str, Any] | None:
    """`monitor.gpu_read_ms`: what reading all GPUs took in the driver, each time."""
    count, total, largest = state.gpu_read_ms
    return {"mean": round(total / count, 2), "max": round(largest, 2), "samples": count} if count else None


def busy_in_training(state: RunState, view: GpuView) -> float | None:
    """Mean GPU busy in percent from the first to the last training step; None where no sample fell there."""
    if state.first_step_t is None:
        return None
    return view.busy.mean(state.first_step_t, state.last_step_t)


def mib(value: float | None) -> float | None:
    """Bytes as MiB."""
    return None if value is None else round(value / 2**20, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
