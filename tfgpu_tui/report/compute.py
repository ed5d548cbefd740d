"""What compute is made of, in report.json and in the page (pure)."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core import compute_parts
from tfgpu_tui.core.state import RunState

NOT_LOOKED = (
    "nothing looked inside the step: it happens by itself where compute is most of a step, within 0.5 % of the time; "
    "--set profile=5 asks for it"
)
OFF = "--set profile=off"
HEADLESS = (
    "a headless run is not looked into by itself, since TensorFlow's profiler writes to stderr; --set profile=auto or "
    "profile=5 asks for it"
)


def compute(state: RunState) -> dict[str, Any] | None:
    """The split of compute; None where it isn't known (`why_not`)."""
    times = state.layer_times
    if times is None or not times.parts:
        return None
    shares = state.compute_parts()
    return {
        "asked": times.asked,
        "source": times.source,
        "steps": times.whole_steps,
        "step_ms": _rounded(times.step_ms),
        "compute_ms": _rounded(times.compute_ms),
        "parts": {
            name: {"share": round(share, 4), "ms": _rounded(times.parts[name])} for name, share in shares.items()
        },
        "layers": [
            {"layer": name, "share": round(sum(row.values()), 4), **{part: round(v, 4) for part, v in row.items()}}
            for name, row in compute_parts.layers(times)
        ],
        "ops": times.ops,
        "cost_ms": _rounded(None if times.cost_s is None else times.cost_s * 1e3),
        "lost_steps": _rounded(times.lost_steps),
        "note": times.note,
    }


def why_not(state: RunState) -> str | None:
    """Why the split isn't known, in words; None where it is."""
    times = state.layer_times
    if times is not None and times.parts:
        return times.note
    if times is not None:
        return times.refused or "no whole step was seen"
    asked = state.run.knobs.get("profile") if state.run is not None else None
    if asked is None and state.run is not None and state.run.mode == "headless":
        return HEADLESS
    return OFF if asked == "off" else NOT_LOOKED


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
