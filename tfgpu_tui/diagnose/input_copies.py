"""Family C: the GPU waits while its batch is copied to it (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.parts.devices import link_bytes_per_s
from tfgpu_tui.core.rows import CopyTime
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.diagnose.finding import Finding, severity_of

TO_GPU = "host to device"
MIN_BYTES = 1 << 20
"""A step: below it the time is that of starting a copy, and a smaller batch would not shorten it."""
PINNED = 0.5
"""Of the bytes, of which more from memory that is not pinned are said to be the reason for a slow copy."""
SLOW_LINK = 0.5
"""Of what the link carries, below which a copy's rate is called low."""
WIDE = ("float32", "float64", "int32", "int64")


def findings(state: RunState) -> Iterator[Finding]:
    """input.copy_bound."""
    times = state.layer_times
    if times is None or not times.step_ms or state.judged.steps < STEADY_STEPS:
        return
    longest = max((row for row in times.copies if row["direction"] == TO_GPU), key=_alone, default=None)
    if longest is None or longest["bytes"] < MIN_BYTES:
        return
    share = min(longest["alone_ms"] / times.step_ms, 1.0)
    severity = severity_of(share)
    if severity is None:
        return
    view = _view(state, longest.get("device"))
    rate = longest["bytes"] / longest["ms"] * 1e3 if longest["ms"] else None
    carries = None if view is None else _carries(view)
    wide = [element for element in (state.dataset.elements if state.dataset else []) if element.get("dtype") in WIDE]
    yield Finding(
        id="input.copy_bound",
        severity=severity,
        share=share,
        title=f"The GPU waits for its batch to be copied: {units.share(share)} of each step, "
        f"{units.size(longest['bytes'])}",
        lines=[
            f"{units.duration(longest['ms'] / 1e3)} a step in copies to {longest.get('device') or 'the GPU'}, in "
            f"{units.duration(longest['alone_ms'] / 1e3)} of it no kernel runs there",
            _rate(rate, carries, view),
            *_pageable(longest),
            *[f"the pipeline yields {element.get('dtype')} {_shape(element.get('shape'))}" for element in wide[:2]],
        ],
        next=_next(rate, carries, bool(wide)),
        evidence={
            "share": round(share, 4),
            "device": longest.get("device"),
            "copy_ms": longest["ms"],
            "alone_ms": longest["alone_ms"],
            "step_ms": round(times.step_ms, 4),
            "bytes": longest["bytes"],
            "pageable_bytes": longest.get("pageable_bytes"),
            "bytes_per_s": None if rate is None else round(rate),
            "link_bytes_per_s": None if carries is None else round(carries),
            "pcie_generation": None if view is None else view.latest.get("pcie_generation"),
            "pcie_width": None if view is None else view.latest.get("pcie_width"),
        },
    )


def _alone(row: CopyTime) -> float:
    return row["alone_ms"]


def _view(state: RunState, device: str | None) -> GpuView | None:
    """What NVML says of a device of TensorFlow's."""
    uuid = next((gpu.get("uuid") for gpu in state.environment.tf_gpus or () if gpu.get("device") == device), None)
    return state.gpus.get(str(uuid))


def _carries(view: GpuView) -> float | None:
    return link_bytes_per_s(view.latest.get("pcie_generation"), view.latest.get("pcie_width"))


def _rate(rate: float | None, carries: float | None, view: GpuView | None) -> str:
    told = f"{units.size(rate)} a second while it copies"
    if carries is None or view is None:
        return f"{told}; what the link carries is not known"
    link = f"PCIe {view.latest.get('pcie_generation')} x{view.latest.get('pcie_width')}"
    return f"{told}; the link ({link}) carries {units.size(carries)}"


def _pageable(row: CopyTime) -> list[str]:
    share = (row.get("pageable_bytes") or 0.0) / row["bytes"]
    if share < PINNED:
        return []
    return [f"{units.share(share)} of it from memory that is not pinned, which the driver copies twice"]


def _shape(shape: list[int | None] | None) -> str:
    return "of unknown shape" if shape is None else "x".join("?" if n is None else str(n) for n in shape)


def _next(rate: float | None, carries: float | None, wide: bool) -> str:
    fewer = "Send fewer bytes: keep images as uint8 in the pipeline, and cast and scale them on the GPU, in the model"
    beside = "copy the next batch beside the step (own loop: tf.data.experimental.prefetch_to_device as the last stage)"
    if rate is not None and carries is not None and rate >= SLOW_LINK * carries:
        return f"{fewer}; the link is at its limit." if wide else "Send fewer bytes; the link is at its limit."
    return f"{fewer}; or {beside}." if wide else f"{beside[0].upper()}{beside[1:]}."
