"""The training process's own memory by the step, a few times a second, and what grows in it when it keeps growing.

Runs on the agent's working thread. A sample costs some microseconds; the search for what grows (`growth_cause`) stops
Python for some tens of milliseconds, twice, and only where memory has grown steadily for a while.
"""

from __future__ import annotations

import os
import resource
from statistics import median
from typing import List, Optional, Tuple

from ..hooks import runtime
from ..hooks.descriptors import OwnFile
from ..hooks.runtime import every, send
from ..steps import keras_loop, windows
from . import growth_cause

SAMPLE_S = 0.1
SEND_POINTS = 5
MAX_POINTS = 240
PARTS = 5
SUSPICIOUS_BYTES = 24 << 20
SUSPICIOUS_STEPS = 150
BETWEEN_LOOKS_STEPS = 40
BETWEEN_LOOKS_S = 1.5
MAX_SEARCHES = 3

_statm = OwnFile("/proc/self/statm")
Point = Tuple[int, int]
"""(training steps done, resident bytes without those of our own looks)"""


def resident_bytes() -> int:
    """This process's resident memory (proc(5), /proc/self/statm)."""
    return int(_statm.read().split()[1]) * resource.getpagesize()


def slope(points: List[Point]) -> float:
    """Bytes a step, by Theil and Sen's median of pairwise slopes over a few dozen of the points."""
    thin = points[:: max(1, len(points) // 40)]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(thin) for x2, y2 in thin[i + 1 :] if x2 > x1]
    return median(slopes) if slopes else 0.0


def rises(points: List[Point]) -> bool:
    """Whether memory rose in each fifth of the later two thirds, and by enough to be worth a look."""
    kept = points[len(points) // 3 :]
    if len(kept) < 3 * PARTS or kept[-1][0] - kept[0][0] < SUSPICIOUS_STEPS:
        return False
    width = len(kept) // PARTS
    medians = [median(size for _, size in kept[i * width : (i + 1) * width]) for i in range(PARTS)]
    return medians[-1] - medians[0] > SUSPICIOUS_BYTES and medians == sorted(set(medians))


class _Watch:
    """The points so far, those that wait to be sent, and the search that is under way."""

    def __init__(self) -> None:
        self.points: List[Point] = []
        self.unsent: List[Tuple[int, int, int]] = []
        """With the number of the fit in which they were taken."""
        self.stride = 1
        self.seen = 0
        self.look: Optional[growth_cause.Look] = None
        self.searches = 0
        self.own = 0
        """Bytes that our own looks took: Python and the C library keep them for later."""

    def tell(self) -> None:
        """Send the points that wait."""
        if self.unsent:
            send("process_memory", points=[list(p) for p in self.unsent])
            self.unsent = []

    def add(self, point: Point) -> None:
        """Keep the point, evenly thinned, and send it with the next few."""
        self.unsent.append((*point, windows.current_loop()))
        if len(self.unsent) >= SEND_POINTS:
            self.tell()
        if self.seen % self.stride == 0:
            self.points.append(point)
            if len(self.points) >= MAX_POINTS:
                self.points = self.points[::2]
                self.stride *= 2
        self.seen += 1

    def search(self, point: Point) -> None:
        """Look twice, some steps apart, at what grows while memory does."""
        if self.look is None:
            if self.searches < MAX_SEARCHES and rises(self.points):
                self.searches += 1
                self.look = growth_cause.look(*point)
                self._leave_out(point)
        elif point[0] - self.look.step >= BETWEEN_LOOKS_STEPS and growth_cause.age_s(self.look) >= BETWEEN_LOOKS_S:
            first, self.look = self.look, None
            found = growth_cause.difference(first, growth_cause.look(*point))
            send("growth_cause", **found)
            if any(c["bytes_per_step"] > slope(self.points) / 2 for c in found["containers"]):
                self.searches = MAX_SEARCHES  # found: each search is itself a small disturbance of what is measured
            self._leave_out(point)
            self.points.clear()  # the next search asks for growth anew
            self.stride, self.seen = 1, 0

    def _leave_out(self, before: Point) -> None:
        """What memory rose by during a look, beyond what the training takes in as many steps, was the look's."""
        done, size = measure()
        expected = before[1] + slope(self.points) * (done - before[0])
        self.own += max(0, round(size - self.own - expected))


_watch = _Watch()
_pid = os.getpid()


def measure() -> Point:
    """Training steps done and resident bytes, now."""
    return windows.total("train") + keras_loop.noted("train"), resident_bytes()


@every(SAMPLE_S)
def _sample() -> None:
    global _watch, _pid
    if os.getpid() != _pid:  # forked: the history is the parent's
        _watch, _pid = _Watch(), os.getpid()
    last = _watch.points[-1][0] if _watch.points else 0
    if runtime.phase() != "training":
        _watch.tell()
        return
    done, size = measure()
    if done <= last:
        return
    point = (done, size - _watch.own)
    _watch.add(point)
    _watch.search(point)
