"""Sums executions to windows of steps and sends them: the split of a step's time into input wait, compute and host."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import Counter
from itertools import repeat
from typing import Any, Optional

from ..hooks.runtime import send, traces
from . import input_wait

WINDOW_S = 0.25
WARMUP_EXECUTIONS = 5
"""At least so many executions at the start of each fit are never judged: buffers fill, allocators grow."""
BUCKETS_PER_OCTAVE = 8

_totals: dict[str, int] = {"train": 0, "test": 0, "predict": 0}
_walls: dict[str, float] = {"train": 0.0, "test": 0.0, "predict": 0.0}
_loops = 0
mean_batch: Optional[float] = None
"""Examples in a batch of the fit that begins next, on average over an epoch; None where it is not known."""


_EDGES = [2.0 ** (number / BUCKETS_PER_OCTAVE) * 1e-6 for number in range(1, 40 * BUCKETS_PER_OCTAVE)]
"""Where the buckets after the first one begin, in seconds."""


def bucket(duration_s: float) -> int:
    """`tfgpu_tui.core.events.histogram_bucket`, which can't be imported here."""
    return bisect_right(_EDGES, duration_s)


def total(phase: str) -> int:
    """Steps of this phase in this process so far."""
    return _totals[phase]


def wall_s(phase: str) -> float:
    """Seconds in those steps."""
    return _walls[phase]


def new_loop() -> int:
    """The number of a fit (or loop of the user's own) that begins now, from 1."""
    global _loops
    _loops += 1
    return _loops


def current_loop() -> int:
    """The number of the latest fit; 0 before the first."""
    return _loops


class Windows:
    """The windows of one fit, evaluation or loop. All times in seconds; called on the training's thread."""

    def __init__(self, phase: str, loop: str, fit: int) -> None:
        self.phase = phase
        self.loop = loop
        self.fit = fit
        self.epoch: Optional[int] = None
        self.executions = 0
        self._batch_size = input_wait.BatchSize()
        self._mean_batch = mean_batch if (phase, loop) == ("train", "fit") else None
        self.wait_bound: Optional[str] = None
        self.callbacks: dict[str, float] = {}
        """Seconds by callback class, cumulative; filled by whoever times them."""
        self._traces = traces()
        self._clear(time.perf_counter())

    def _clear(self, now: float) -> None:
        self._since = now
        self._warmup = False
        self._steps = self._executions = 0
        self._wall = self._function = self._wait = 0.0
        self._unknown = False
        self._shortest = math.inf
        self._longest = 0.0
        self._periods: dict[int, int] = {}
        self._traced = 0
        self._callbacks_before = dict(self.callbacks)

    def step_begins(self, traces_then: Optional[int] = None) -> None:
        """What was traced between two steps (a validation's function) does not make the next one a warm-up. The step
        begins now, or began when `traces()` was `traces_then`."""
        self._traces = traces() if traces_then is None else traces_then

    @property
    def warming_up(self) -> bool:
        """Whether the next execution is one of the first, which are never judged."""
        return self.executions < WARMUP_EXECUTIONS

    def add(
        self, steps: int, wall: float, function: float, wait: Optional[float], now: float, executions: int = 1
    ) -> None:
        """One execution that ended `now`: `wall` since the one before, `function` of it in the train function, `wait`
        of that blocked on the next batch (None where it is not known)."""
        self.add_run([wall], function, wait, now, [steps], executions)

    def add_run(
        self,
        walls: list[float],
        function: float,
        wait: Optional[float],
        now: float,
        counts: Optional[list[int]] = None,
        executions: Optional[int] = None,
        compiled: bool = False,
    ) -> None:
        """Consecutive executions, the last of which ended `now`: the wall time of each, and as sums the time in the
        train function and the wait in it. `counts`: the steps of each, 1 where it is None. What `compiled` is no step
        like the others: a warm-up of its own."""
        traced = traces() - self._traces
        warmup = self.warming_up or traced > 0 or compiled
        if warmup != self._warmup:
            self.emit(now)
            self._warmup = warmup
        wall = sum(walls)
        if not self._executions:  # time between two loops does not make the first window short
            self._since = now - wall
        self._traces += traced
        self._traced += traced
        self.executions += executions or len(walls)
        self._executions += executions or len(walls)
        self._wall += wall
        self._function += function
        if wait is None or not input_wait.known():
            self._unknown = True
        elif wait > 0.0:  # a wall clock that was set back while we waited: not a wait
            self._wait += min(wait, function)
        periods = walls if counts is None else [w / n for w, n in zip(walls, counts)]
        self._shortest = min(self._shortest, min(periods))
        self._longest = max(self._longest, max(periods))
        slots = map(bisect_right, repeat(_EDGES), periods)
        for slot, seen in Counter(slots).items() if counts is None else zip(slots, counts):
            self._periods[slot] = self._periods.get(slot, 0) + seen
        steps = len(walls) if counts is None else sum(counts)
        self._steps += steps
        _totals[self.phase] += steps
        _walls[self.phase] += wall
        if now - self._since >= WINDOW_S:
            self.emit(now)

    def idle(self, now: float) -> bool:
        """Whether there is something to send that has waited for longer than a window."""
        return self._executions > 0 and now - self._since >= 2 * WINDOW_S

    def emit(self, now: float) -> None:
        """Send what was summed since the last window, if anything."""
        if not self._executions:
            return
        batch_size = self._batch_size.look()
        mean = self._mean_batch if batch_size is None else float(batch_size)
        before = self._callbacks_before
        callbacks = {k: v - before.get(k, 0.0) for k, v in self.callbacks.items() if v > before.get(k, 0.0)}
        send(
            "steps",
            phase=self.phase,
            loop=self.loop,
            fit=self.fit,
            epoch=self.epoch,
            first_step=_totals[self.phase] - self._steps + 1,
            steps=self._steps,
            executions=self._executions,
            wall_s=self._wall,
            wait_s=None if self._unknown else self._wait,
            compute_s=None if self._unknown else self._function - self._wait,
            host_s=self._wall - self._function,
            callbacks=callbacks,
            periods={str(k): v for k, v in self._periods.items()},
            step_min_s=self._shortest,
            step_max_s=self._longest,
            batch_size=batch_size,
            examples=None if mean is None else round(mean * self._steps),
            traces=self._traced,
            warmup=self._warmup,
            wait_bound=self.wait_bound or (input_wait.why_unknown() if self._unknown else None),
        )
        warmup = self._warmup
        self._clear(now)
        self._warmup = warmup


def numbers(value: Any) -> dict[str, Any]:
    """The metrics that `describe` can tell, as they are: larger tensors of the script's are not to be kept."""
    found = {name: numbers(item) if isinstance(item, dict) else item for name, item in dict(value or {}).items()}
    return {name: item for name, item in found.items() if _elements(item) == 1}


def _elements(item: Any) -> Optional[int]:
    try:
        return math.prod(getattr(item, "shape", ()))
    except (TypeError, ValueError):
        return None


def describe(value: Any) -> dict[str, Any]:
    """Metrics as an event holds them: nested dictionaries flattened, numbers as floats. May wait for a device."""
    out: dict[str, Any] = {}
    for name, item in dict(value or {}).items():
        if isinstance(item, dict):
            out.update(describe(item))
            continue
        try:
            number = float(item)
        except (TypeError, ValueError):
            continue
        out[str(name)] = number if math.isfinite(number) else str(number)
    return out
