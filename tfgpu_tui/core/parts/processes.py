"""All processes of a run that train: each by itself, and how they do it: in step for one model, or apart (pure)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import field, replace

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.parts import calls, feed
from tfgpu_tui.core.parts.process import Process, lean
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import MemoryDevice, MemoryUse

LIMIT = 64
"""Processes that are kept by themselves; those beyond it are summed into one."""
STEADY_STEPS = 20
"""Steps after warm-up before anything is judged."""
SILENT_S = 30.0
"""A process that told nothing for so long before the newest of them holds no memory any more, and is in no epoch."""
EQUAL_STEP = 0.05
"""Steps of a synchronous job take the same time everywhere within this share: each waits for all others."""
EQUAL_COUNT = 0.02
"""So do counts of steps, but for the windows that are still on their way."""


@dataclass(frozen=True)
class Manner:
    """How the processes train."""

    kind: str
    """one | synchronous | apart."""
    why: str = ""
    """By which rule that is known, in words."""


ONE = Manner("one")


@dataclass
class Processes:
    """What they told. While only one process tells anything, it is `together`, and `several` is empty."""

    together: Process = field(default_factory=Process)
    """All of them summed."""
    sole: int | None = None
    """The pid of the first that told anything."""
    several: dict[int, Process] = field(default_factory=dict)
    """By pid, since a second one told anything."""
    rest: Process | None = None
    """Those beyond LIMIT, summed."""
    pids: set[int] = field(default_factory=set)
    """Those that trained."""
    _manner: Manner | None = field(default=None, init=False, repr=False, compare=False)
    _described: Process | None = field(default=None, init=False, repr=False, compare=False)

    def take(self, e: ev.Event) -> None:
        """One more event of a type in `process.HANDLERS`."""
        self._manner = self._described = None
        pid = e.pid
        if isinstance(e, ev.Steps):
            if pid is not None and e.phase == "train":
                self.pids.add(pid)
        elif isinstance(e, ev.UserCode):
            self._take_user_code(e)
            return
        own = self.together if pid is None or (pid == self.sole and not self.several) else self._own(pid)
        own.take(e)
        if own is not self.together:
            self.together.take(self._summed(e) if isinstance(e, ev.TfMemory) else e)
            self._sum_counts(e)

    def _sum_counts(self, e: ev.Event) -> None:
        """What each process counts from its own start: of several, the newest of one is no sum."""
        all_of = [*self.several.values(), *([] if self.rest is None else [self.rest])]
        if isinstance(e, ev.Steps):
            self.together.steps.fits = sum(process.steps.fits for process in all_of)
        elif isinstance(e, ev.FitCalls):
            together = self.together.calls
            together.first_fit, together.fit_calls = calls.summed(process.calls for process in all_of)

    def _own(self, pid: int) -> Process:
        """The process of an event; `together` while there is but one."""
        known = self.several.get(pid)
        if known is not None:
            return known
        if not self.several:
            if self.sole in (None, pid):
                self.sole = self.together.pid = pid
                return self.together
            assert self.sole is not None
            self.several[self.sole] = deepcopy(self.together)
            self.together.pid = None
        return self._new(pid)

    def _new(self, pid: int) -> Process:
        if len(self.several) >= LIMIT:
            idle = next((other for other, process in self.several.items() if not process.trains), None)
            if idle is None:
                self.rest = self.rest or lean(None)
                return self.rest
            del self.several[idle]
        self.several[pid] = lean(pid)
        return self.several[pid]

    def _take_user_code(self, e: ev.UserCode) -> None:
        """What makes batches does not train: its parent does, or, where that is none of those that do, any of them."""
        owner = self.several.get(e.parent) if e.parent is not None else None
        for process in [owner] if owner is not None else self.several.values():
            feed.user_code(process.feed, e)
        feed.user_code(self.together.feed, e)

    def _summed(self, e: ev.TfMemory) -> ev.TfMemory:
        """What the allocators of all processes that are still there hold on the devices of one that told of its own."""
        living = [p.memory.tf_memory for p in self.several.values() if p.heard_t >= e.t - SILENT_S]
        return replace(e, devices=[_sum(d, [held[d["device"]] for held in living if d["device"] in held])
                                   for d in e.devices])  # fmt: skip

    # What several readers ask for.

    def by_pid(self) -> dict[int | None, Process]:
        """Those that told anything, by pid; None stands for those beyond LIMIT."""
        if not self.several:
            return {self.sole: self.together} if self.together.heard_t else {}
        found: dict[int | None, Process] = dict(self.several.items())
        if self.rest is not None:
            found[None] = self.rest
        return found

    def training(self) -> list[Process]:
        """Those that trained."""
        return [process for process in self.by_pid().values() if process.trains]

    @property
    def manner(self) -> Manner:
        """How those that trained do it."""
        if self._manner is None:
            self._manner = _manner(self.training()) if self.several else ONE
        return self._manner

    def described(self) -> Process:
        """The process whose numbers stand for the run: the slowest of a synchronous job; else the sum."""
        if self._described is None:
            self._described = slowest(self.training()) if self.manner.kind == "synchronous" else self.together
        return self._described

    def words(self) -> str | None:
        """How several train, and which of them the numbers are; None where one does."""
        count, kind = len(self.pids), self.manner.kind
        if kind == "one":
            return None
        return f"{count} in step: {self.described().name}" if kind == "synchronous" else f"{count} apart, summed"

    def farthest(self) -> Process:
        """The process whose epoch stands for the run: of those that train apart, the one that needs the most time."""
        if self.manner.kind != "apart":
            return self.described()
        trained = self.training()
        newest = max(process.heard_t for process in trained)
        living = [process for process in trained if process.heard_t >= newest - SILENT_S]
        return max(living, key=lambda process: process.eta_s() or 0.0)


def _sum(device: MemoryDevice, held: list[MemoryUse]) -> MemoryDevice:
    current = [size for use in held if (size := use.get("current_bytes")) is not None]
    peak = [size for use in held if (size := use.get("peak_bytes")) is not None]
    return {**device, "current_bytes": sum(current) if current else None, "peak_bytes": sum(peak) if peak else None}


def _manner(trained: list[Process]) -> Manner:
    """By what the processes tell of themselves; equal counts of steps alone prove nothing, since the same training
    started twice has them, too."""
    count = len(trained)
    if count < 2:
        return ONE
    jobs = [process.job for process in trained]
    told = [job for job in jobs if job is not None and job.workers > 1 and not job.asynchronous]
    if len(told) == count and len({job.index for job in told}) > 1:
        return Manner("synchronous", f"TF_CONFIG names them as {told[0].workers} workers of one job")
    if any(job is not None and job.asynchronous for job in jobs):
        return Manner("apart", "TF_CONFIG names parameter servers: each worker goes its own way")
    replicas = [process.layers.model.replicas if process.layers.model else None for process in trained]
    if all((number or 1) >= count for number in replicas) and _equally_far(trained):
        return Manner("synchronous", f"each trains with {replicas[0]} replicas in sync, and all did as many steps")
    return Manner("apart", "nothing says that they train one model together")


def _equally_far(trained: list[Process]) -> bool:
    """Whether all did the same number of steps, but for those of windows that are still on their way."""
    counts = [process.steps.train.steps for process in trained]
    under_way = max(sum(w.steps for w in list(process.steps.recent)[-4:]) for process in trained)
    return max(counts) - min(counts) <= max(under_way, EQUAL_COUNT * max(counts))


def slowest(trained: list[Process]) -> Process:
    """The process with the longest step. Where all take as long, since each waits for the others in its computation
    (`all_reduce`), the one that spends most of it outside of that."""
    ready = [p for p in trained if p.steps.judged.steps >= STEADY_STEPS] or trained
    longest = max(_step_s(process) for process in ready)
    return max((p for p in ready if _step_s(p) >= (1 - EQUAL_STEP) * longest), key=_outside)


def _step_s(process: Process) -> float:
    timed = process.steps.judged if process.steps.judged.steps else process.steps.train
    return timed.mean_s or 0.0


def _outside(process: Process) -> float:
    """Share of step time in which the model does not compute; 0 where that is not known."""
    compute = process.steps.judged.shares()["compute"]
    return 0.0 if compute is None else 1.0 - compute
