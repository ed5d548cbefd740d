"""What an experiment consists of: the plan, and a record of each trial (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

BASELINE: dict[str, str] = {}
"""The script as it is (with the settings that all trials have)."""

STRETCHES = ("later", "first", "whole")
"""Of a trial, as in `Record`: two trials are compared over the first of them that both have."""

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A setting that is tried."""

    setting: dict[str, str]
    why: str
    bound: bool = False
    """A limit to compare with, and no setting to keep: synthetic input."""


@dataclass(frozen=True)
class LeftOut:
    """A setting that is not tried."""

    name: str
    """`input=prefetch`, or a knob as a whole."""
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is tried with this script, in order, and what is not."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What no setting changes, where that is what holds the script back."""


@dataclass(frozen=True)
class Pace:
    """Milliseconds a step over a stretch of a trial, and their standard error from how they vary within it."""

    ms: float
    error_ms: float
    calm: Pace | None = None
    """Of its lower quartile, where the steps that were disturbed least end. None where there were too few."""


@dataclass(frozen=True)
class Record:
    """One trial: what was set, and what was measured. What is not known is None."""

    setting: dict[str, str]
    run: str
    begun: float
    """Unix seconds."""
    wall_s: float
    steps: int = 0
    """After warm-up."""
    first: Pace | None = None
    """In the first pass over the data."""
    later: Pace | None = None
    """After it; of a loop whose passes can't be seen, all of it."""
    whole: Pace | None = None
    start_s: float | None = None
    """From the script's start to its first step."""
    warm_s: float = 0.0
    """In the first steps, which trace and compile: not in the step time."""
    wait: float | None = None
    """Input wait as a share of step time."""
    host: float | None = None
    gpu_busy: float | None = None
    """Percent."""
    others_cpu: float | None = None
    """Percent of the machine's CPUs that other programs used, while the steps were measured."""
    memory_bytes: float | None = None
    """Peak of the host memory of the script's processes."""
    gpu_memory_bytes: float | None = None
    """Peak that TensorFlow had in use, on the GPU with most."""
    losses: list[list[float]] = field(default_factory=list)
    """(training step, loss) as the training told it."""
    loss_lost: bool = False
    """The loss became nan or infinite."""
    meaningless: str | None = None
    """Why its losses mean nothing."""
    not_applied: str | None = None
    """Why the setting was not in force."""
    failure: str | None = None
    """Why nothing was measured, or what became of the script."""
    last_line: str | None = None
    """Of the script's output, where it ended by itself, without an exception that could be told."""
    ended: str = "enough"
    """Why the trial ended: `enough`, `share` (of the budget), `script` (by itself), `stopped` (by the user), `unkept`
    (the disk took no more)."""

    @property
    def measured(self) -> bool:
        """Whether it says something of its setting."""
        return self.whole is not None and self.failure is None and self.not_applied is None

    @property
    def why_not(self) -> str | None:
        """Why it says nothing of its setting, in words."""
        if self.failure is not None and self.last_line is not None:
            return f"{self.failure}; its output ends: {self.last_line}"
        return self.failure or self.not_applied

    @property
    def shown(self) -> Pace | None:
        """The step time of its row: after the first pass over the data, else of that pass."""
        return self.later or self.first or self.whole

    @property
    def is_baseline(self) -> bool:
        return not self.setting


@dataclass(frozen=True)
class Current:
    """The trial that runs."""

    setting: dict[str, str]
    run: str
    begun: float
    """Unix seconds."""


@dataclass(frozen=True)
class Conductor:
    """The process that conducts an experiment, and where its pid means something (see runs/meta.py)."""

    pid: int
    started: int | None
    boot_id: str
    pid_namespace: str


@dataclass(frozen=True)
class Group:
    """An experiment as it is kept on disk."""

    id: str
    argv: list[str]
    cwd: str
    python: str
    base: dict[str, str] = field(default_factory=dict)
    """Settings of all trials."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Settings that the user wants tried; empty: those that could matter."""
    begun: float = 0.0
    steps: int | None = None
    """Steps after which a trial ends at the latest."""
    plan: Plan | None = None
    """None before the first baseline was measured."""
    records: list[Record] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    """Files of the script's folder that were written during the baseline."""
    may_write: bool = False
    """The user agreed to that, or nothing was written."""
    places: dict[str, str] = field(default_factory=dict)
    """Where the script sets a knob now, or makes what the setting changes: `train.py:12`."""
    ended: str | None = None
    """Why no trial follows: `done`, `budget`, `stopped`, `refused`, `untriable`, `occupied` (the run before them did
    not end), `unkept` (the disk took no more); None while they run."""
    unkept: str | None = None
    """What the disk said, in words."""
    spent_s: float = 0.0
    budget_s: float = 0.0
    """Of the stretch that goes on, or was the last one."""
    until: float | None = None
    """Unix seconds at which that is used up."""
    left_s: float | None = None
    """Of it, when no trial followed."""
    after: str | None = None
    """A run of the script that is stopped, and waited for, before the first trial."""
    now: Current | None = None
    """None where no trial runs."""
    conductor: Conductor | None = None

    @property
    def run(self) -> str | None:
        """The run to look at: the trial that runs, else the last one."""
        if self.now is not None:
            return self.now.run
        return self.records[-1].run if self.records else self.after


def to_go_on(group: Group) -> Group:
    """The experiment as it begins again: what was not measured for want of time is tried once more."""
    kept = [r for r in group.records if r.measured or r.ended != "share"]
    return replace(group, records=kept, ended=None, now=None, conductor=None)


def words(setting: Mapping[str, str]) -> str:
    """`input=parallel jit_compile=on`; `baseline`."""
    return " ".join(f"{name}={value}" for name, value in setting.items()) or "baseline"


def to_json(group: Group) -> dict[str, Any]:
    """For the group's file, and for scripts."""
    return {"schema": 1, **asdict(group)}


def from_json(told: Any) -> Group:
    """Raises ValueError where it is no group. Fields of a later version are skipped."""
    try:
        plan, now, conductor = told.get("plan"), told.get("now"), told.get("conductor")
        return _made(
            Group,
            told,
            plan=None if plan is None else _plan(plan),
            records=[_record(each) for each in told.get("records", [])],
            now=None if now is None else _made(Current, now),
            conductor=None if conductor is None else _made(Conductor, conductor),
        )
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"it is no experiment: {error}") from None


def _plan(told: dict[str, Any]) -> Plan:
    return _made(
        Plan,
        told,
        candidates=[_made(Candidate, each) for each in told.get("candidates", [])],
        left_out=[_made(LeftOut, each) for each in told.get("left_out", [])],
    )


def _record(told: dict[str, Any]) -> Record:
    return _made(Record, told, **{name: _pace(told.get(name)) for name in STRETCHES})


def _pace(told: dict[str, Any] | None) -> Pace | None:
    return None if told is None else _made(Pace, told, calm=_pace(told.get("calm")))


def _made(kind: type[T], told: dict[str, Any], **better: Any) -> T:
    known = {each.name: told[each.name] for each in fields(kind) if each.name in told}  # type: ignore[arg-type]
    return kind(**{**known, **better})
