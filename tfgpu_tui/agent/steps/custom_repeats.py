"""When the steps of a loop of the user's own repeat, and what the lane (`custom_lane`) that they then get noted.

The lane is opened between two calls of the training's thread, and takes over the step that was done last, which is
open to what may follow. Its notes are summed in any thread, under the lock of `custom_steps.ThreadState`; what is left
of them when it closes is told call by call, as if there had been no lane.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from operator import sub
from typing import Any, NamedTuple, Optional

from ..hooks.runtime import stop_after, traces
from . import device_wait, input_wait
from .custom_lane import NOTE, Lane

ALIKE = 8
"""Steps in a row of the very same calls after which a loop gets a lane."""
STALE_S = 1.0

Clocks = tuple[list[tuple[float, int]], float]
"""What waited in graphs, and for results, up to now."""
Call = tuple[Optional[Any], bool, float, float]
"""An iterator or a function (None where it is gone), whether it is an iterator, begin and end."""


class Run(NamedTuple):
    """Consecutive steps: the wall time of each, and as sums what they were blocked and what they waited of that."""

    walls: list[float]
    blocked: float
    wait: float
    end: float


class Repeats:
    """What a thread calls, step after step. All but `called`, `step_begins` and `traced` under the lock."""

    def __init__(self, thread: int) -> None:
        self.lane: Optional[Lane] = None
        self.traces: Optional[int] = None
        """`traces()` when something was about to be traced while the lane was open; None where nothing was."""
        self.waits: Optional[list[tuple[float, int]]] = None
        """The graphs' waits before the first function of this step."""
        self._thread = thread
        self._calls: list[weakref.ref[Any]] = []
        self._times: list[float] = []
        self._calls_before: list[weakref.ref[Any]] = []
        self._alike = 0
        self._eager = input_wait.EagerWait()
        self.read = 0.0
        """Seconds waited for results up to the last step that was summed."""

    # -- before there is a lane

    def called(self, call: Any, start: float, end: float) -> None:
        """A batch was taken, or a function called."""
        self._calls.append(weakref.ref(call))
        self._times += start, end

    def step_begins(self) -> None:
        """The calls so far belong to the step before."""
        self._calls, self._times, self.waits = [], [], None

    def step_counted(self, plain: bool) -> None:
        """The step ended. `plain`: one step, of functions alone."""
        # One reference for each object: the lists are the same where the objects are.
        self._alike = self._alike + 1 if plain and self._calls == self._calls_before else 0
        self._calls_before = self._calls
        self.step_begins()

    def ready(self, ended: Optional[float], traces_then: int) -> bool:
        """Whether the step that is done now had the same calls as some before it, and nothing else trained in it."""
        calls = self._calls
        return (
            self._alike >= ALIKE
            and traces_then == traces()  # a step in which something was traced stays a warm-up of its own
            and calls == self._calls_before
            and len({id(ref) for ref in calls}) == len(calls) == len(self._times) // 2
            and ended == self._times[-1]
            and stop_after() is None
            # A distributed iterator asks its parts, through the same wrapper.
            and all(_has_short_way(ref()) for ref in calls)
        )

    # -- with a lane

    def open(self, look: Callable[[Lane], None], read: float) -> None:
        """From here on the calls are only noted. `read`: seconds waited for results up to the step that it takes."""
        calls = [ref() for ref in self._calls]
        takes = [_is_iterator(call) for call in calls]
        self.lane = Lane(calls, takes, self._times, look)
        self.traces = None
        self.waits = self.waits or input_wait.by_site()
        self._eager = input_wait.eager()
        self.read = read
        self._calls, self._times = [], []

    def clocks(self) -> Clocks:
        """Read before notes are handed over: what they waited lies before it."""
        return input_wait.by_site(), device_wait.waited(self._thread)

    def traced(self) -> None:
        """Something is about to be traced in this thread."""
        if self.lane is not None:
            self.lane.leave_iterators()
            self.traces = traces()
            self.lane.wanted.add("traced")

    def fold(self, lane: Lane, base: float, add: Callable[[Run], None]) -> float:
        """Sum all whole steps that were handed over, but the last one; `base` is where the first began. Returns where
        the next begins. In any thread."""
        while lane.readings:
            notes, (waits, read) = lane.readings.popleft()
            lane.handed += notes
            run = self._sum(lane, base, waits, read)
            if run is not None:
                base = run.end
                add(run)
        return base

    def _sum(self, lane: Lane, base: float, waits: list[tuple[float, int]], read: float) -> Optional[Run]:
        done = lane.steps()
        if not done:
            return None
        size = NOTE * len(lane.order)
        notes = lane.take(done * len(lane.order))
        waited, busy = 0.0, 0.0
        for index, takes in enumerate(lane.takes):
            seconds = sum(notes[NOTE * index + 2 :: size]) - sum(notes[NOTE * index + 1 :: size])
            if takes:
                waited += seconds
                self._eager.seconds += seconds
                self._eager.batches += done
            else:
                busy += seconds
        in_functions = min(input_wait.since(self.waits or [], waits)[0], busy)
        self.waits = waits
        busy += read - self.read
        self.read = read
        ends = notes[size - 1 :: size]
        walls = list(map(sub, ends, [base, *ends]))
        return Run(walls, min(waited + busy, sum(walls)), waited + in_functions, ends[-1])

    def seen_from_outside(self, lane: Lane, now: float) -> bool:
        """Have the training's thread look at what the lane noted; returns whether it stands still instead."""
        notes = lane.notes
        if now - (notes[-1] if notes else lane.last) > STALE_S:
            return True
        lane.wanted.add("mixed" if lane.mixed() else "due")
        return False

    def close(self) -> Optional[Lane]:
        """Back to what understands every loop. Returns the lane, whose last calls are to be told; None where there was
        none."""
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.close()
            lane.hand_over(self.clocks())
        return lane


def left_in(lane: Lane) -> list[Call]:
    """The calls that were noted and not summed, in order; each is handed out once."""
    while lane.readings:
        lane.handed += lane.readings.popleft()[0]
    calls: list[Call] = []
    while lane.handed:
        index, start, end = lane.take(1)
        calls.append((lane.calls[index](), lane.takes[index], start, end))
    return calls


def _is_iterator(call: Any) -> bool:
    return type(call).__name__ == "OwnedIterator"


def _has_short_way(call: Any) -> bool:
    """Whether a lane may take this function or iterator in place of our hook."""
    return type(call).__name__ == "Function" or (_is_iterator(call) and input_wait.is_ours(call))
