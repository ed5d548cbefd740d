"""Two runs side by side: rows of differences, with the noise of both (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, isfinite
from statistics import median, stdev
from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.account import WORDS, whole_run
from tfgpu_tui.core.compute_parts import words
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.input_wait import gpu_busy
from tfgpu_tui.report import scaling

MIN_STEADY_S = 1.5
MIN_WINDOWS = 6
LEAST_PART = 0.02
"""Parts of compute that are smaller in both runs are left out."""
SERIES = {"input_wait": "wait_ms", "compute": "compute_ms", "host": "host_ms"}
SMALLEST_CHANGE = 0.03
"""Changes under 3 % are never called a change: two runs of the same script differ by as much."""
MEDIAN = 1.2533
"""Standard error of a median over that of a mean, for many values of a normal distribution: the root of pi / 2."""
BLOCKS = 8
"""Stretches of a run whose means tell how its speed drifts, as on a machine that others use."""

PART_OF_RUN = 0.05
"""Parts of the whole run under this share in both are not compared."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison, as text."""

    label: str
    before: str
    after: str
    change: str
    better: bool | None = None
    """None: no difference beyond the noise, or neither direction is better."""


@dataclass(frozen=True)
class Speed:
    """Step time of a run with its own variation."""

    median_ms: float
    error_ms: float
    """Standard error of the median, from the windows' spread."""


def speed(state: RunState) -> Speed | None:
    """Median of the windows' mean step times and its error; None while there are too few windows.

    Neighbouring windows resemble each other, so only every fourth counts as independent in the error; where the speed
    drifts more than that over the run, its drift is the error.
    """
    return speed_of([ms for _, ms in state.window_ms.points])


def speed_of(values: Sequence[float]) -> Speed | None:
    """The same of windows' mean step times in ms, in order."""
    if len(values) < MIN_WINDOWS:
        return None
    mid = median(values)
    spread = 1.4826 * median(abs(v - mid) for v in values)
    return Speed(mid, max(MEDIAN * spread / max(1.0, len(values) / 4) ** 0.5, _drift(values)))


def _drift(values: Sequence[float]) -> float:
    """Standard error of the median, from the medians of consecutive blocks; 0 for fewer values than two a block."""
    size = len(values) // BLOCKS
    if size < 2:
        return 0.0
    blocks = [median(values[i * size : (i + 1) * size]) for i in range(BLOCKS)]
    return float(MEDIAN * stdev(blocks) / BLOCKS**0.5)


def share_error(state: RunState, name: str) -> float:
    """Standard error of `input_wait`, `compute` or `host` as a share of step time (0..1), from how it drifts."""
    steady = min((t for t, _ in state.window_ms.points), default=0.0)
    parts = {each: dict(state.series[of].rows()) for each, of in SERIES.items()}
    whole = {t: sum(part.get(t, 0.0) for part in parts.values()) for t in parts[name] if t > steady}
    return _drift([parts[name][t] / total for t, total in whole.items() if total])


def ready(a: RunState, b: RunState) -> bool:
    """True when both runs have enough steady steps to say something beyond the noise."""
    return all(
        s.judged.steps >= STEADY_STEPS and s.judged.wall_s >= MIN_STEADY_S and speed(s) is not None for s in (a, b)
    )


def faster(a: RunState, b: RunState) -> tuple[float, bool] | None:
    """(how many times faster b is than a, whether that is beyond the noise); None where it can't be said."""
    before, after = speed(a), speed(b)
    if before is None or after is None or not after.median_ms:
        return None
    ratio = before.median_ms / after.median_ms
    noise = 2 * (before.error_ms**2 + after.error_ms**2) ** 0.5
    real = abs(before.median_ms - after.median_ms) > noise and abs(ratio - 1) > SMALLEST_CHANGE
    return ratio, real


def _rate_noise(a: RunState, b: RunState) -> float:
    """By how much the ratio of the two runs' rates may differ from the truth, as a share."""
    speeds = [s for s in (speed(a), speed(b)) if s is not None and s.median_ms]
    return max(SMALLEST_CHANGE, 2 * hypot(*(s.error_ms / s.median_ms for s in speeds)))


def verdict(state: RunState) -> str:
    """The run in two or three words: `input-bound 61 %`, `compute-bound`."""
    shares = state.judged.shares()
    if shares["input_wait"] is None or state.judged.steps < STEADY_STEPS:
        return "not judged"
    for finding in diagnose(state):
        if finding.id == "input.bound" and not finding.incomplete:
            return f"input-bound {units.share(shares['input_wait'])}"
        if finding.id in ("host.callbacks", "host.python"):
            return f"host-bound {units.share(finding.share)}"
    return "compute-bound"


def sentence(a: RunState, b: RunState) -> str:
    """What the change did, in one sentence."""
    if not ready(a, b):
        missing = [name for name, s in (("first", a), ("second", b)) if not ready(s, s)]
        return f"Not comparable yet: the {' and the '.join(missing)} run has too few steps after warm-up."
    result = faster(a, b)
    if result is None:
        return "Not comparable: the step times are unknown."
    ratio, real = result
    if bool(a.metrics_meaningless) != bool(b.metrics_meaningless):
        return _free_input(ratio if b.metrics_meaningless else 1 / ratio, real)
    parts = [f"{verdict(a)} → {verdict(b)}"]
    if not real:
        parts.append(f"the step time did not change beyond the noise ({_change_percent(1 / ratio)})")
    else:
        parts.append(f"{_times(ratio)}x faster" if ratio > 1 else f"{_times(1 / ratio)}x slower")
    replicas = scaling.scaling(a, b)
    if replicas is not None:
        parts.append(scaling.sentence(replicas, abs(replicas.gain - 1) > _rate_noise(a, b)))
    before, after = gpu_busy(a), gpu_busy(b)
    if before is not None and after is not None:
        parts.append(f"GPU busy {units.percent(before)} → {units.percent(after)}")
    return "; ".join(parts) + "."


def _free_input(gain: float, real: bool) -> str:
    """What a run on one batch again and again tells of one on the script's own input."""
    words = "its losses mean nothing, so no metric is compared"
    if real and gain > 1:
        return f"With free input this model would run {_times(gain)}x faster; one run saw the same batch only: {words}."
    return f"Free input would not make this model faster beyond the noise; one run saw the same batch only: {words}."


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 1.95 else f"{ratio:.2f}"


def _change_percent(factor: float) -> str:
    return f"{(factor - 1) * 100:+.1f} %"


def _plain(label: str, before: float | None, after: float | None, text: Any, less_is_better: bool | None) -> Row:
    if before is None or after is None:
        return Row(label, text(before), text(after), units.UNKNOWN)
    change = _change_percent(after / before) if before else units.UNKNOWN
    moved = before and abs(after / before - 1) > SMALLEST_CHANGE
    better = None if less_is_better is None or not moved else (after < before) == less_is_better
    return Row(label, text(before), text(after), change, better)


def rows(a: RunState, b: RunState) -> list[Row]:
    """Knobs first, then speed, shares, GPU, memory and metrics. Unknown is `–`."""
    out = _knob_rows(a, b)
    out.append(_speed_row(a, b))
    out.append(
        _plain("examples/s", a.examples_per_s(a.judged), b.examples_per_s(b.judged), units.number, less_is_better=False)
    )
    if scaling.scaling(a, b) is not None:
        out += _replica_rows(a, b)
    before, after = a.judged.shares(), b.judged.shares()
    for key, label in (("input_wait", "input wait"), ("compute", "compute"), ("host", "host")):
        out.append(_points(label, before[key], after[key]))
    parts_a, parts_b = a.compute_parts(), b.compute_parts()
    if parts_a and parts_b:
        for part in sorted(parts_a.keys() | parts_b.keys(), key=lambda p: -max(parts_a.get(p, 0), parts_b.get(p, 0))):
            shares = parts_a.get(part, 0.0), parts_b.get(part, 0.0)
            if max(shares) >= LEAST_PART:
                out.append(_points(f"compute: {words(part)}", *shares))
    out.append(
        _plain("CPU of the training", a.series["tree_cpu"].mean(), b.series["tree_cpu"].mean(), units.percent, None)
    )
    busy_a, busy_b = gpu_busy(a), gpu_busy(b)
    if busy_a is not None or busy_b is not None:
        out.append(_plain("GPU busy", busy_a, busy_b, units.percent, None))
    out.append(_plain("host memory, peak", a.rss_peak_bytes, b.rss_peak_bytes, units.size, less_is_better=True))
    for device in sorted(a.tf_memory.keys() | b.tf_memory.keys()):
        peaks = [s.tf_memory.get(device, {}).get("peak_bytes") for s in (a, b)]
        out.append(_plain(f"{device} in use, peak", peaks[0], peaks[1], units.size, less_is_better=True))
    reserved = [_gpu_memory_peak(s) for s in (a, b)]
    if any(r is not None for r in reserved):
        out.append(_plain("GPU memory taken, peak", reserved[0], reserved[1], units.size, None))
    out += _whole_rows(a, b)
    if a.metrics_meaningless or b.metrics_meaningless:
        return out
    for name in [m for m in a.metrics if m in b.metrics][:4]:
        x, y = a.metrics[name], b.metrics[name]
        known = [v if isinstance(v, (int, float)) else None for v in (x, y)]
        out.append(_plain(f"{name} (last)", known[0], known[1], lambda v: units.number(v, 4), None))
    return out


def _replica_rows(a: RunState, b: RunState) -> list[Row]:
    counts, batches = [scaling.replicas(s) for s in (a, b)], [scaling.batch_per_replica(s) for s in (a, b)]
    rates = [scaling.per_replica(s) for s in (a, b)]
    return [
        _plain("replicas", counts[0], counts[1], _whole, None),
        _plain("batch of a replica", batches[0], batches[1], _whole, None),
        _plain("examples/s of a replica", rates[0], rates[1], units.number, less_is_better=False),
    ]


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _whole_rows(a: RunState, b: RunState) -> list[Row]:
    """Of two runs that are over: their wall time, and the parts of it that matter in one of them."""
    before, after = whole_run(a), whole_run(b)
    if before is None or after is None or a.ended is None or b.ended is None:
        return []
    out = [_plain("whole run", before.wall_s, after.wall_s, units.duration, None)]
    for key, label in WORDS.items():
        if max(before.share(key), after.share(key)) >= PART_OF_RUN:
            out.append(_plain(f"  {label}", before.seconds(key), after.seconds(key), units.duration, None))
    return out


def _knob_rows(a: RunState, b: RunState) -> list[Row]:
    before = a.run.knobs if a.run else {}
    after = b.run.knobs if b.run else {}
    out = []
    for name in sorted(before.keys() | after.keys()):
        x, y = before.get(name, "script"), after.get(name, "script")
        out.append(Row(name, x, y, "changed" if x != y else "same"))
    return out


def _speed_row(a: RunState, b: RunState) -> Row:
    before, after = speed(a), speed(b)
    text = [
        units.UNKNOWN if s is None else f"{units.duration(s.median_ms / 1e3)} ± {units.duration(s.error_ms / 1e3)}"
        for s in (before, after)
    ]
    result = faster(a, b)
    if result is None:
        return Row("step time", text[0], text[1], units.UNKNOWN)
    ratio, real = result
    return Row("step time", text[0], text[1], _change_percent(1 / ratio), (ratio > 1) if real else None)


def _points(label: str, before: float | None, after: float | None) -> Row:
    """Shares differ in percentage points, not in percent of a percentage."""
    if before is None or after is None:
        return Row(label, units.share(before), units.share(after), units.UNKNOWN)
    return Row(label, units.share(before), units.share(after), f"{(after - before) * 100:+.1f} points")


def _gpu_memory_peak(state: RunState) -> float | None:
    peaks = [g.memory.highest for g in state.gpus.values() if g.ours and g.memory.highest is not None]
    return max(peaks, default=None)


def text(a: RunState, b: RunState) -> str:
    """The comparison as a table for a terminal or a file."""
    table = [Row("", "before", "after", "change"), *rows(a, b)]
    widths = [max(len(getattr(r, f)) for r in table) for f in ("label", "before", "after", "change")]
    lines = [
        f"{r.label:<{widths[0]}}  {r.before:>{widths[1]}}  {r.after:>{widths[2]}}  {r.change:>{widths[3]}}  "
        f"{_WORDS[r.better]}".rstrip()
        for r in table
    ]
    names = [f"{word:<8}{s.run.id if s.run else units.UNKNOWN}" for word, s in (("before", a), ("after", b))]
    return "\n".join([sentence(a, b), "", *names, "", *lines])


_WORDS = {True: "better", False: "worse", None: ""}


def _scaling_json(a: RunState, b: RunState) -> dict[str, Any] | None:
    found = scaling.scaling(a, b)
    if found is None:
        return None
    return {
        "replicas": list(found.replicas),
        "examples_per_s": [round(rate, 1) for rate in found.examples_per_s],
        "gain": round(found.gain, 4),
        "efficiency": round(found.efficiency, 4),
    }


def as_json(a: RunState, b: RunState) -> dict[str, Any]:
    """The comparison for scripts."""
    result = faster(a, b)
    return {
        "schema": 1,
        "before": a.run.id if a.run else None,
        "after": b.run.id if b.run else None,
        "comparable": ready(a, b),
        "sentence": sentence(a, b),
        "times_faster": round(result[0], 4) if result and isfinite(result[0]) else None,
        "beyond_noise": result[1] if result else None,
        "scaling": _scaling_json(a, b),
        "rows": [vars(r) for r in rows(a, b)],
    }
