"""When to look inside the step without being asked: rarely enough to cost next to nothing (pure: numbers only).

Once the training is warm and compute is most of a step; again after its speed has changed for long. All looks together
may cost `SHARE` of the time in training steps: what they did cost is known, and what the next one will cost is guessed
from the graph's size before the first, and taken from the latest one after it. So a short run gets none.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, NamedTuple, Optional

FIRST_AFTER_S = 10.0
"""Of training steps: before, buffers fill, allocators grow, autotuning tries, and clocks and caches warm up."""
SHARE = 0.005
MOSTLY = 0.5
"""Compute's share of the step from which on it is worth a look."""
RECENT_S = 10.0
CHANGE = 1.5
CHANGE_LASTS_S = 30.0
"""A speed that differs by this factor for so long is another one."""
SAMPLE_S = 1.0
START_S = 0.03
OP_S = 50e-6
SLOWER = 0.5
GPU_START_S = 1.0
"""What a look is taken to cost before the first: the profiler's start and end, each op that ran (its events are
written and read; measured 40 µs on a slow core), steps that take so much longer, and the GPU's tracer (not
measured)."""


class Now(NamedTuple):
    """Sums of the training steps so far, after warm-up or not."""

    steps: int
    wall_s: float
    compute_s: float


class Plan:
    """The looks of one process. All times in seconds of training steps."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._latest_s: Optional[float] = None
        self._speed_s: Optional[float] = None
        self._retry_at_s = FIRST_AFTER_S
        self._samples: Deque[Now] = deque(maxlen=int(CHANGE_LASTS_S / SAMPLE_S) + 1)

    def note(self, now: Now) -> None:
        """Called often."""
        if not self._samples or now.wall_s - self._samples[-1].wall_s >= SAMPLE_S:
            self._samples.append(now)

    def due(self, window_s: float, steps: float, ops: int, gpu: bool) -> bool:
        """Whether to look now: `steps` in `window_s`, of a graph with so many ops."""
        if not self._samples or self._samples[-1].wall_s < self._retry_at_s:
            return False
        since = self._since(RECENT_S)
        if since is None or since.compute_s < MOSTLY * since.wall_s:
            return False
        if self._speed_s is not None and not self._changed(self._speed_s):
            return False
        guess_s = START_S + OP_S * ops * steps + SLOWER * window_s + (GPU_START_S if gpu else 0.0)
        return self.spent_s + (self._latest_s or guess_s) <= SHARE * self._samples[-1].wall_s

    def looked(self, cost_s: float) -> None:
        """After a look that told something."""
        since = self._since(RECENT_S)
        self._speed_s = since.wall_s / since.steps if since is not None and since.steps else None
        self.failed(cost_s)

    def failed(self, cost_s: float) -> None:
        """After one that told nothing: the next one waits twice as long."""
        self.spent_s += cost_s
        self._latest_s = max(cost_s, self._latest_s or 0.0)
        if self._samples:
            self._retry_at_s = 2 * self._samples[-1].wall_s

    def _since(self, seconds: float, until: int = -1) -> Optional[Now]:
        """The differences over so many seconds up to a sample; None where there are not so many."""
        if not self._samples:
            return None
        end = self._samples[until]
        before = [sample for sample in self._samples if sample.wall_s <= end.wall_s - seconds]
        if not before:
            return None
        return Now(*(a - b for a, b in zip(end, before[-1])))  # type: ignore[arg-type]

    def _changed(self, before_s: float) -> bool:
        """Whether each of the last steps' halves was that much slower, or each that much quicker."""
        half = CHANGE_LASTS_S / 2
        middle = len(self._samples) // 2
        speeds = [
            part.wall_s / part.steps
            for part in (self._since(half - SAMPLE_S), self._since(half - SAMPLE_S, middle))
            if part is not None and part.steps
        ]
        if len(speeds) < 2:
            return False
        return all(s > CHANGE * before_s for s in speeds) or all(s * CHANGE < before_s for s in speeds)
