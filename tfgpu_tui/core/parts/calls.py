"""What a process' own Python does around its steps: functions traced again, calls of fit and predict (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.totals import FitTimes, PredictTimes, Retraced, StepTotals


@dataclass
class Calls:
    """Calls, and what they cost."""

    retraces: dict[str, Retraced] = field(default_factory=dict)
    """By the place of the function."""
    fit_calls: FitTimes | None = None
    """All calls of `fit` that returned but the first, whose set-up is the model's own."""
    first_fit: FitTimes | None = None
    predict_calls: dict[tuple[int | None, str, bool], PredictTimes] = field(default_factory=dict)
    """By process, method, and whether within a fit."""
    last_call_t: float | None = None
    """When the last call of fit, predict or evaluate returned."""
    debug_switches: dict[str, str] = field(default_factory=dict)
    """Those that are on -> where the script turned them on."""
    script_lines: ev.ScriptLines | None = None


def retrace(calls: Calls, e: ev.Retrace, train: StepTotals) -> None:
    key = f"{e.file}:{e.line}:{e.function}"
    if key not in calls.retraces and len(calls.retraces) >= 100:
        return
    known = calls.retraces.setdefault(key, Retraced(e))
    known.latest = e
    known.history.append((train.steps, train.wall_s, e.traces, e.seconds))


def fit_calls(calls: Calls, e: ev.FitCalls, inside_s: float, steps: int) -> None:
    """`inside_s`: seconds in steps, validation, callbacks and between epochs so far."""
    calls.last_call_t = e.t
    if calls.first_fit is None:
        calls.first_fit = FitTimes(e.count, e.wall_s, inside_s, steps)
    first = calls.first_fit
    calls.fit_calls = FitTimes(
        e.count - first.calls, e.wall_s - first.wall_s, inside_s - first.inside_s, steps - first.steps
    )


def summed(of: Iterable[Calls]) -> tuple[FitTimes | None, FitTimes | None]:
    """(first, later) calls of `fit` of several processes together, the first one of each being its own set-up."""
    known = [(calls.first_fit, calls.fit_calls) for calls in of]
    return _sum([first for first, _ in known if first]), _sum([later for _, later in known if later])


def _sum(of: list[FitTimes]) -> FitTimes | None:
    return FitTimes(*(sum(values) for values in zip(*map(astuple, of), strict=True))) if of else None


def predict_calls(calls: Calls, e: ev.PredictCalls, trains: bool) -> None:
    """`trains`: whether a training step was done before."""
    calls.last_call_t = e.t
    key = e.pid, e.method, e.in_fit
    known = calls.predict_calls.get(key)
    if known is not None and trains:
        known.latest = e
    elif known is not None or len(calls.predict_calls) < 64:
        calls.predict_calls[key] = PredictTimes(e, e, early=0 if trains else e.count)


def debug_switch(calls: Calls, e: ev.DebugSwitch) -> None:
    calls.debug_switches.pop(e.name, None)
    if e.on and len(calls.debug_switches) < 16:
        calls.debug_switches[e.name] = e.place


def script_lines(calls: Calls, e: ev.ScriptLines) -> None:
    known = calls.script_lines
    if known is None or e.pid == known.pid or e.looks > known.looks:
        calls.script_lines = e
