"""What a process tells of where its wall time went, from its start to its end (pure); `core.account` adds it up."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass

FUNCTIONS = 100
TRACED_IN = ("training", "evaluating", "predicting")
SERVING = "serving"
"""The phase, and its part, of a process that waits for what the others of its job send it."""


@dataclass
class Account:
    """Sums, in seconds."""

    whole: bool = True
    """False where a part of the run was folded by a version that kept no account."""
    begun: float | None = None
    """When its first phase began, in unix seconds: it starts to import TensorFlow."""
    part: str | None = None
    """Of the phase that it is in now; see `events.Phase.part`."""
    since: float = 0.0
    """When that began, in unix seconds."""
    spent: dict[str, float] = field(default_factory=dict)
    """In each part, up to `since`."""
    in_epoch: bool = False
    fit_s: float = 0.0
    """In the steps of fits, warm-up included."""
    own_s: float = 0.0
    """In the steps of loops of the script's own, warm-up included."""
    warmup_s: float = 0.0
    """In steps of warm-up."""
    first_waits_s: float = 0.0
    """For the first batches of epochs, within steps of warm-up."""
    later_waits_s: float = 0.0
    """For the first batches of epochs, within other steps."""
    waited_s: float | None = None
    """For the first batch of this epoch; None before its first steps were told."""
    warm_wait: bool = False
    """Whether that was in steps of warm-up."""
    callbacks_s: float = 0.0
    """In the epoch-level hooks of callbacks."""
    validations: int = 0
    validation_wait_s: float = 0.0
    """Waited for batches in the validations of fits."""
    validation_first_s: float = 0.0
    """Of that, for their first batches."""
    begins_validation: bool = False
    """None of its steps was told yet."""
    first_runs: dict[str, ev.FirstRun] = field(default_factory=dict)
    """By the place of the function."""
    stood: ev.Stood | None = None


def phase(of: Account, e: ev.Phase) -> None:
    """Another phase begins."""
    part = e.part or _part(of, e.phase)
    if of.begun is None:
        of.begun = e.t - sum(e.spent_s.values())
    if e.spent_s:
        of.spent = dict(e.spent_s)
    elif of.part is not None:
        of.spent[of.part] = of.spent.get(of.part, 0.0) + max(0.0, e.t - of.since)
    if part == "validation" and of.part not in ("validation", "validation/tracing"):
        of.validations += 1
        of.begins_validation = True
    if part in ("idle", "ending", "preparing", "exiting"):
        of.in_epoch = False  # where an exception ended a fit, no epoch's end was told
    of.part, of.since = part, e.t


def _part(of: Account, name: str) -> str:
    """Of what an older agent told, which has no parts."""
    if name == "tracing":
        return f"{of.part or 'imported'}/tracing"
    if name == "training":
        return "fit" if of.in_epoch or (of.part or "").startswith(("fit", "validation")) else "training"
    return "validation" if name == "evaluating" and of.in_epoch else name


def steps(of: Account, e: ev.Steps) -> None:
    """One more window of steps."""
    if e.phase == "test" and (of.part or "").startswith("validation") and e.wait_s is not None:
        of.validation_wait_s += e.wait_s
        if of.begins_validation and e.step_max_s is not None:
            of.validation_first_s += min(e.wait_s, e.step_max_s)
            of.begins_validation = False
    if e.phase != "train":
        return
    if e.loop == "fit":
        of.fit_s += e.wall_s
    else:
        of.own_s += e.wall_s
    if e.warmup:
        of.warmup_s += e.wall_s
    if of.in_epoch and of.waited_s is None and e.wait_s is not None and e.step_max_s is not None:
        of.waited_s, of.warm_wait = min(e.wait_s, e.step_max_s), e.warmup


def epoch(of: Account, e: ev.Epoch) -> None:
    """An epoch began or ended."""
    if of.waited_s is not None and (e.state == "begin" or e.first_wait_s is None):
        _waited(of, of.waited_s)
    elif e.state != "begin" and e.first_wait_s is not None:
        _waited(of, e.first_wait_s)
    of.waited_s = None
    of.in_epoch = e.state == "begin"
    if e.state != "begin":
        of.callbacks_s += sum(e.callbacks.values())


def _waited(of: Account, seconds: float) -> None:
    if of.warm_wait:
        of.first_waits_s += seconds
    else:
        of.later_waits_s += seconds


def edges_s(of: Account, spent: dict[str, float]) -> float:
    """Seconds in fits, from their first step on, in neither a step nor a validation nor a callback: between epochs, and
    after the last one. `spent`: in each part."""
    fit = sum(spent.get(part, 0.0) for part in ("fit", "callbacks", "fit/tracing", "callbacks/tracing"))
    return max(0.0, fit - of.fit_s - of.callbacks_s)


def first_run(of: Account, e: ev.FirstRun) -> None:
    """A function ran right after it was traced."""
    key = f"{e.file}:{e.line}:{e.function}"
    if key in of.first_runs or len(of.first_runs) < FUNCTIONS:
        of.first_runs[key] = e


def stood(of: Account, e: ev.Stood) -> None:
    """Where its main thread was seen."""
    of.stood = e
