"""Many runs beside each other: a row for each, and the ranks of a job against each other (pure).

In synchronous training all ranks take the same time a step, for each waits in its computation for all others. So they
differ in the work that each does on its own: the wait for its input and the time of its host, which are measured.
Compute holds the wait for the others, and is compared with nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.parts.processes import STEADY_STEPS
from tfgpu_tui.core.state import RunState

SPREAD_RANKS = 3
"""From so many ranks on there is a spread; of two, only the difference can be told."""
EQUAL_STEP = 0.10
"""Ranks whose steps take the same time within this share may wait for each other."""
BEYOND = 4.0
"""Times the noise that a rank's own work must be beyond the others'."""
LEAST_NOISE = 0.01
"""Of a step: what two measurements may differ by without a reason."""
MAD_TO_SIGMA = 1.4826
"""The median absolute deviation of a normal distribution times this is its standard deviation."""
SILENT_S = 30.0
"""A run of which nothing was heard for so long: its supervisor writes twice a second."""
HEARD_S = 10.0
"""Another rank that was heard of so lately goes on."""
STEPPED_S = 20.0
"""Steps that are so old are no longer compared with those of other ranks."""


@dataclass(frozen=True)
class Own:
    """Seconds of each step in which a rank did something on its own, over the last seconds of training."""

    mean_s: float
    error_s: float | None
    """Standard error of the mean, from how much windows of steps differ; None of less than three windows."""


@dataclass(frozen=True)
class Standing:
    """A finding that stands in one run."""

    id: str
    severity: str
    """'' where an older supervisor did not tell it."""
    since: float


@dataclass(frozen=True)
class Row:
    """One run. None is not known."""

    key: str
    """The run's id; `HOST:id` of one that is read over ssh."""
    run: str
    host: str = ""
    job: str | None = None
    rank: int | None = None
    world_size: int | None = None
    synchronous: bool | None = None
    script: str = ""
    life: str = "running"
    """running | elsewhere (it goes on, on another host) | lost | ended | unknown."""
    doing: str = ""
    """In words."""
    started: float = 0.0
    step: int | None = None
    step_s: float | None = None
    input: Own | None = None
    host_work: Own | None = None
    shares: tuple[float | None, float | None, float | None] = (None, None, None)
    """Of step time: input wait, compute, host."""
    judged_steps: int = 0
    stepped_ago_s: float | None = None
    """Since the last training step, by the run's own clock."""
    gpus: int = 0
    gpu_busy_percent: float | None = None
    """Mean of the run's GPUs; of all of its machine, where it is not known which are its own."""
    gpu_power_w: float | None = None
    """Their sum."""
    gpu_memory_bytes: float | None = None
    """Their sum, whoever holds it."""
    memory_bytes: int | None = None
    """Resident, of all the run's processes."""
    findings: tuple[Standing, ...] = ()
    """The first is the most severe."""
    quiet_s: float = 0.0
    """Since anything was heard of it."""

    @property
    def goes_on(self) -> bool:
        """Whether it is running, here or elsewhere."""
        return self.life in ("running", "elsewhere")


def row(state: RunState, *, key: str, life: str = "running", quiet_s: float = 0.0, host: str = "") -> Row:
    """The row of a run. `host` is used where the journal names none."""
    run, member, current = state.run, state.member, state.current()
    shares = current.shares()
    windows = list(state.recent)
    gpus = [gpu for gpu in state.gpus.values() if gpu.ours] or list(state.gpus.values())
    busy = [gpu.latest.get("busy_percent") for gpu in gpus]
    return Row(
        key=key,
        run=run.id if run else key,
        host=(run.host if run else "") or host or state.environment.host or "",
        job=member.job if member else None,
        rank=member.rank if member else None,
        world_size=member.world_size if member else None,
        synchronous=member.synchronous if member else None,
        script=" ".join(run.argv[:2] if run.argv[:1] in (["-m"], ["-c"]) else run.argv[:1]) if run else "",
        life="ended" if state.ended is not None else life,
        doing=state.activity(),
        started=run.t if run else 0.0,
        step=_step(state),
        step_s=current.mean_s,
        input=_own(windows, lambda e: e.wait_s),
        host_work=_own(windows, lambda e: e.host_s),
        shares=(shares["input_wait"], shares["compute"], shares["host"]),
        judged_steps=state.judged.steps,
        stepped_ago_s=None if state.last_step_t is None else max(0.0, state.now - state.last_step_t),
        gpus=len(gpus),
        gpu_busy_percent=_mean([value for value in busy if value is not None]),
        gpu_power_w=_sum([gpu.latest.get("power_w") for gpu in gpus]),
        gpu_memory_bytes=_sum([gpu.latest.get("memory_used_bytes") for gpu in gpus]),
        memory_bytes=state.host.tree_rss_bytes if state.host else None,
        findings=tuple(Standing(name, state.standing_severity.get(name, ""), t) for name, t in state.standing.items()),
        quiet_s=quiet_s,
    )  # fmt: skip


def _step(state: RunState) -> int | None:
    """Training steps so far, also where not all windows were read."""
    last = state.recent[-1] if state.recent else None
    numbered = last.first_step + last.steps - 1 if last is not None and last.first_step else 0
    return max(state.train.steps, numbered) or None


def _own(windows: Sequence[ev.Steps], seconds: Callable[[ev.Steps], float | None]) -> Own | None:
    told = [(value, e.steps) for e in windows if e.steps and (value := seconds(e)) is not None]
    if not told or len(told) < len(windows):
        return None
    each = [value / steps for value, steps in told]
    return Own(sum(value for value, _ in told) / sum(steps for _, steps in told), _error_of_mean(each))


def _error_of_mean(each: list[float]) -> float | None:
    """(`statistics.stdev` is exact, and forty times slower.)"""
    if len(each) < 3:
        return None
    mean = sum(each) / len(each)
    return math.sqrt(sum((value - mean) ** 2 for value in each) / (len(each) - 1) / len(each))


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# The ranks of a job.


def jobs(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Job -> its ranks in their order: of a rank that was started again only its newest run."""
    found: dict[str, dict[int, Row]] = {}
    for one in rows:
        if one.job is not None and one.rank is not None:
            ranks = found.setdefault(one.job, {})
            last = ranks.get(one.rank)
            if last is None or (one.goes_on, one.started) > (last.goes_on, last.started):
                ranks[one.rank] = one
    return {job: [ranks[rank] for rank in sorted(ranks)] for job, ranks in sorted(found.items())}


@dataclass(frozen=True)
class Excess:
    """A rank whose own work takes longer than that of the others, who wait for it."""

    row: Row
    own_s: float
    usual_s: float
    """Median of all ranks; of two, the other one's."""
    noise_s: float
    """What two ranks may differ by, without a reason: the larger of their spread and of the error of a mean."""
    step_s: float
    ranks: int

    @property
    def excess_s(self) -> float:
        """Seconds a step."""
        return self.own_s - self.usual_s

    @property
    def share(self) -> float:
        """Of step time."""
        return self.excess_s / self.step_s


def straggler(ranks: Sequence[Row], own: Callable[[Row], Own | None], least_share: float) -> Excess | None:
    """The rank whose own work is most beyond the others', by at least this share of step time; None where there is
    none, or where it can't be told: not all are known to wait for each other, or their steps differ."""
    compared = in_step(ranks)
    works = [own(one) for one in compared]
    known = [work for work in works if work is not None]
    if len(compared) < 2 or len(known) < len(compared):
        return None
    step_s = median(one.step_s or 0.0 for one in compared)
    at = max(range(len(known)), key=lambda i: known[i].mean_s)
    means = [work.mean_s for work in known]
    usual_s = median(means) if len(means) >= SPREAD_RANKS else min(means)
    spread_s = MAD_TO_SIGMA * median(abs(mean - median(means)) for mean in means) if len(means) >= SPREAD_RANKS else 0.0
    errors = [work.error_s for work in known]
    if step_s <= 0 or any(error is None for error in errors):
        return None
    noise_s = max(spread_s, LEAST_NOISE * step_s, *(error for error in errors if error is not None))
    found = Excess(compared[at], means[at], usual_s, noise_s, step_s, len(means))
    return found if found.excess_s > BEYOND * noise_s and found.share >= least_share else None


def in_step(ranks: Sequence[Row]) -> list[Row]:
    """Those that train now, where each step waits for all of them, and takes the same time in all; else none."""
    training = [
        one for one in ranks
        if one.goes_on and one.quiet_s < SILENT_S and one.judged_steps >= STEADY_STEPS and one.step_s
        and one.stepped_ago_s is not None and one.stepped_ago_s < STEPPED_S
    ]  # fmt: skip
    if not all(one.synchronous for one in training):
        return []
    times = [one.step_s for one in training if one.step_s is not None]
    return training if times and max(times) - min(times) <= EQUAL_STEP * median(times) else []


def silent(ranks: Sequence[Row]) -> list[Row]:
    """Ranks without an end of which nothing is heard any more, while others go on."""
    others = [one for one in ranks if one.goes_on and one.quiet_s < HEARD_S]
    return [one for one in ranks if one.life != "ended" and one.quiet_s >= SILENT_S] if others else []
