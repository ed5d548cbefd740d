"""report.json's section `training`: what the loop did, and what the host did beside it (pure)."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core.events import Event, PredictCalls
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.host import eager_ops_per_step


def host_work(state: RunState) -> dict[str, Any]:
    """Eager ops, functions traced again, calls of fit, lines of the script; and whether the metrics mean anything."""
    later, first, seen = state.fit_calls, state.first_fit, state.script_lines
    return {
        "metrics_meaningless": state.metrics_meaningless,
        "eager_ops_per_step": eager_ops_per_step(state),
        "retraces": [_told(r.latest) for r in state.retraces.values()],
        "fit_calls": None
        if later is None or first is None
        else {"count": later.calls + first.calls, "later_wall_s": round(later.wall_s, 3)},
        "predict_calls": [_calls(times.latest) for times in state.predict_calls.values()] or None,
        "script_lines": None if seen is None else _told(seen),
        "unrolled_loops": [_told(loop) for loop in state.unrolled.values()],
        "graph_python": None if state.graph_python is None else _told(state.graph_python),
    }


def _told(event: Event) -> dict[str, Any]:
    return {k: v for k, v in vars(event).items() if k not in ("t", "src", "pid")}


def _calls(told: PredictCalls) -> dict[str, Any]:
    seconds = {"wall_s": round(told.wall_s, 3), "batches_s": round(told.batches_s, 3)}
    places = [{**p, "wall_s": round(p.get("wall_s") or 0.0, 3)} for p in told.places]
    names = ("method", "in_fit", "count", "batches")
    return {**{name: getattr(told, name) for name in names}, **seconds, "places": places}


def unknown(state: RunState) -> dict[str, str]:
    """Why fields of `host_work` are null: path -> reason in words."""
    out: dict[str, str] = {}
    if eager_ops_per_step(state) is None:
        eagerly = state.loop == "eager" or (state.model is not None and state.model.run_eagerly)
        out["training.eager_ops_per_step"] = (
            "no eager step was observed" if eagerly else "the step runs as a graph: Python starts no op"
        )
    if state.fit_calls is None:
        out["training.fit_calls"] = "no call of fit returned"
    if not state.predict_calls:
        out["training.predict_calls"] = "no call of predict or evaluate returned"
    if state.script_lines is None:
        out["training.script_lines"] = "no look at a training thread in two seconds of training"
    if state.graph_python is None:
        out["training.graph_python"] = "no Python function was called inside a training graph"
    hooks = {
        "unrolled_loops": "unrolled",
        "graph_python": "graph_python",
        "retraces": "retraces",
        "fit_calls": "fit_calls",
        "predict_calls": "fit_calls",
        "script_lines": "script_lines",
    }
    for field, hook in hooks.items():
        reasons = [reason for name, reason in state.hooks_off.items() if name.startswith(hook)]
        if reasons:
            out[f"training.{field}"] = "; ".join(reasons)
    return out
