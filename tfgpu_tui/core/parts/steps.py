"""The steps of a process: counts, times, and the speed right now (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Decimated, Series
from tfgpu_tui.core.totals import StepTotals

RECENT_S = 15.0


@dataclass
class Steps:
    """Sums over its windows."""

    loop: str | None = None
    """The kind of loop in which most of the training's time after warm-up went by; see `events.Steps`."""
    by_loop: dict[str, StepTotals] = field(default_factory=dict)
    """Training steps after warm-up by the kind of loop."""
    totals: dict[str, StepTotals] = field(default_factory=dict)
    """All steps by phase (train, test, predict), warm-up included: exact counts."""
    steady: dict[str, StepTotals] = field(default_factory=dict)
    """The same without warm-up and what ran under the profiler: what is judged."""
    recent: deque[ev.Steps] = field(default_factory=lambda: deque(maxlen=256))
    """Train windows of the last 15 seconds: the speed right now."""
    window_ms: Decimated = field(default_factory=Decimated)
    """(time, mean step time in ms) of steady train windows: how much the speed itself varies."""
    slowest_steps: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2000))
    """(longest step, compute of all steps) in seconds of each steady train window."""
    fits: int = 0
    first_step_t: float | None = None
    last_step_t: float | None = None
    step_series: dict[str, Series] = field(
        default_factory=lambda: {name: Series() for name in ("wait_ms", "compute_ms", "host_ms")}
    )
    _current: StepTotals | None = field(default=None, init=False, repr=False, compare=False)
    """What `current` said; None where that may be another by now."""

    @property
    def train(self) -> StepTotals:
        """Training steps, warm-up included."""
        return self.totals.get("train") or StepTotals()

    @property
    def judged(self) -> StepTotals:
        """Training steps after warm-up."""
        return self.steady.get("train") or StepTotals()

    def current(self, running: bool) -> StepTotals:
        """The last seconds of training: the speed right now. All steady steps where there are none, and once the run
        has ended."""
        if not running:
            return self.judged if self.judged.steps else self.train
        if self._current is None:
            out = StepTotals()
            for window in self.recent:
                out.add(window)
            self._current = out if out.steps else (self.judged if self.judged.steps else self.train)
        return self._current


def add(steps: Steps, e: ev.Steps) -> None:
    """One more window."""
    steps._current = None
    steps.totals.setdefault(e.phase, StepTotals()).add(e)
    if not (e.warmup or e.profiled):
        steps.steady.setdefault(e.phase, StepTotals()).add(e)
    if e.phase != "train":
        return
    if not e.warmup:
        steps.by_loop.setdefault(e.loop, StepTotals()).add(e)
    steps.loop = max(steps.by_loop, key=lambda loop: steps.by_loop[loop].wall_s, default=e.loop)
    steps.fits = max(steps.fits, e.fit)
    if not e.steps:
        return
    steps.first_step_t = e.t - e.wall_s if steps.first_step_t is None else steps.first_step_t
    steps.last_step_t = e.t
    for name, seconds in (("wait_ms", e.wait_s), ("compute_ms", e.compute_s), ("host_ms", e.host_s)):
        if seconds is not None:
            steps.step_series[name].add_span(e.t - e.wall_s, e.t, seconds / e.steps * 1e3, e.steps)
    if e.warmup or e.profiled:
        return
    steps.window_ms.add(e.t, e.wall_s / e.steps * 1e3)
    steps.recent.append(e)
    if e.step_max_s is not None and e.compute_s is not None:
        steps.slowest_steps.append((e.step_max_s, e.compute_s))
    while steps.recent and steps.recent[0].t < e.t - RECENT_S:
        steps.recent.popleft()
