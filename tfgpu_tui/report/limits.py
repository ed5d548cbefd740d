"""Limits on the difference between two runs, for scripts: `step_time > +5%` fails only beyond the noise (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import compare


class Verdict(IntEnum):
    """What becomes of a limit; the value is the exit status of `compare`."""

    KEPT = 0
    BROKEN = 1
    UNKNOWN = 3


class Limit(NamedTuple):
    """What is not to happen: a measure that changes by more (or less) than an amount."""

    measure: str
    above: bool
    """True: a change above `amount` breaks it; False: one below."""
    amount: float
    """In percent of the first run's value, or in percentage points where the measure is a share."""
    text: str
    """As it was written."""


class Change(NamedTuple):
    """How a measure differs between two runs, in the unit of its limit."""

    value: float
    noise: float
    """Two standard errors of it; 0 for what does not vary within a run."""


class Judged(NamedTuple):
    """A limit, and what was measured."""

    limit: Limit
    verdict: Verdict
    change: Change | None


def _speed(a: RunState, b: RunState) -> Change | None:
    before, after = compare.speed(a), compare.speed(b)
    if before is None or after is None or not before.median_ms or not after.median_ms:
        return None
    ratio = after.median_ms / before.median_ms
    error = ratio * ((before.error_ms / before.median_ms) ** 2 + (after.error_ms / after.median_ms) ** 2) ** 0.5
    return Change((ratio - 1) * 100, 2 * error * 100)


def _examples(a: RunState, b: RunState) -> Change | None:
    before, after, speed = a.examples_per_s(a.judged), b.examples_per_s(b.judged), _speed(a, b)
    if not before or not after or speed is None:
        return None
    ratio = after / before
    return Change((ratio - 1) * 100, ratio * speed.noise / (1 + speed.value / 100))


def _share(name: str) -> Callable[[RunState, RunState], Change | None]:
    def change(a: RunState, b: RunState) -> Change | None:
        before, after = a.judged.shares()[name], b.judged.shares()[name]
        if before is None or after is None:
            return None
        error = sum(compare.share_error(state, name) ** 2 for state in (a, b)) ** 0.5
        return Change((after - before) * 100, 2 * error * 100)

    return change


def _peak(of: Callable[[RunState], float | None]) -> Callable[[RunState, RunState], Change | None]:
    def change(a: RunState, b: RunState) -> Change | None:
        before, after = of(a), of(b)
        return None if not before or after is None else Change((after / before - 1) * 100, 0.0)

    return change


def _gpu_memory(state: RunState) -> float | None:
    """Of the GPU on which TensorFlow had most in use."""
    peaks = [memory.get("peak_bytes") for device, memory in state.tf_memory.items() if "GPU" in device]
    return max((peak for peak in peaks if peak is not None), default=None)


SHARES = ("input_wait", "compute", "host")
MEASURES: dict[str, Callable[[RunState, RunState], Change | None]] = {
    "step_time": _speed,
    "examples_per_s": _examples,
    **{name: _share(name) for name in SHARES},
    "memory": _peak(lambda state: state.rss_peak_bytes),
    "gpu_memory": _peak(_gpu_memory),
}
"""Name -> what it changes by. `memory` is the peak of the training's host memory, `gpu_memory` of TensorFlow's own."""
_OTHER_NAMES = {"examples/s": "examples_per_s", "host_memory": "memory"}
_FORM = re.compile(r"\s*([a-z_/ ]+?)\s*([<>])\s*([+-]\d{1,9}(?:\.\d{1,9})?)\s*(%|points?)\s*", re.ASCII)


def parse(text: str) -> Limit:
    """A limit as it is written on a command line. Raises ValueError with a sentence that says what fits."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.60} is no limit: write it as 'step_time > +5%' or 'input_wait > +3 points'")
    written, sign, amount, unit = found.groups()
    name = written.replace(" ", "_")
    name = _OTHER_NAMES.get(name, name)
    if name not in MEASURES:
        raise ValueError(f"{written:.40} is not measured here; there are {', '.join(MEASURES)}")
    if (unit == "%") == (name in SHARES):
        wanted = "points" if name in SHARES else "%"
        raise ValueError(f"{name} changes by {wanted}: write '{name} {sign} {amount}{' ' * (unit == '%')}{wanted}'")
    return Limit(name, sign == ">", float(amount), text.strip())


def judge(limit: Limit, a: RunState, b: RunState) -> Judged:
    """Broken only where the change is beyond the limit by more than its noise."""
    change = MEASURES[limit.measure](a, b) if compare.ready(a, b) else None
    if change is None:
        return Judged(limit, Verdict.UNKNOWN, None)
    beyond = change.value - limit.amount if limit.above else limit.amount - change.value
    return Judged(limit, Verdict.BROKEN if beyond > change.noise else Verdict.KEPT, change)


def status(judged: list[Judged]) -> Verdict:
    """Of all limits together: one that is broken says more than one that is not known."""
    found = {each.verdict for each in judged}
    return next((v for v in (Verdict.BROKEN, Verdict.UNKNOWN) if v in found), Verdict.KEPT)


def line(judged: Judged) -> str:
    """What became of a limit, in words."""
    limit, change = judged.limit, judged.change
    if change is None:
        return f"can't be judged  {limit.text}: not measured in both runs, or for too few steps"
    unit = "points" if limit.measure in SHARES else "%"
    noise = f" ± {change.noise:.1f}" if change.noise else ""
    word = "broken" if judged.verdict is Verdict.BROKEN else "kept"
    return f"{word:<15}  {limit.text}: {change.value:+.1f}{noise} {unit}"


def as_json(judged: Judged) -> dict[str, object]:
    """For scripts."""
    change = judged.change
    return {
        "limit": judged.limit.text,
        "verdict": judged.verdict.name.lower(),
        "change": None if change is None else round(change.value, 3),
        "noise": None if change is None else round(change.noise, 3),
        "unit": "points" if judged.limit.measure in SHARES else "percent",
    }
