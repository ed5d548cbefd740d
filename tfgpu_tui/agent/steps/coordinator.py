"""Training steps that a coordinator has other processes do: `ClusterCoordinator.schedule` of a function that trains.

Such a function runs in a worker, several at once, and here a thread waits for the end of each. So a step is one that
ended, and its time is the time in which any of them ran, shared by those that ended in it: what a worker waits for its
input, and how long it computes, is not seen from here, and said to be unknown.

Private API: `Closure` in tensorflow/python/distribute/coordinator/cluster_coordinator.py, its `__init__`, which traces,
`execute_on`, and `_concrete_function`, which only closures of a tf.function have: plain Python runs step by step in the
thread that waits, where `custom_loop` sees it. TensorFlow 2.15 to 2.21.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
from typing import Any, Optional

from ..hooks.runtime import every, guarded, on_import, set_phase
from . import windows as steps
from .custom_loop import ours
from .custom_region import TRAINS, Region
from .custom_steps import current

HOOK = "coordinator"
POLL_S = 0.25
NOT_SEEN = "the workers of a ClusterCoordinator take their own batches: how long they wait for them is not seen here"
_counter = time.perf_counter


class Scheduled:
    """The functions that train, as they run and end, in many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: Optional[steps.Windows] = None
        self._running = self._most = self._ended = 0
        self._since = 0.0

    def begins(self, now: float) -> None:
        """One more runs. The time in which none did is no step's."""
        with self._lock:
            if not self._running:
                self._since = now
                if self._windows is not None:
                    self._windows.step_begins()
            self._running += 1
            self._most = max(self._most, self._running)

    def ends(self, now: float, done: bool) -> None:
        """One ended, `done` or with an exception. As many as may run at once are told together: they end in bursts."""
        with self._lock:
            self._running -= 1
            self._ended += done
            if self._ended and (self._ended >= self._most or not self._running):
                if self._windows is None:
                    self._windows = steps.Windows("train", "custom", steps.new_loop())
                    self._windows.wait_bound = NOT_SEEN
                wall = now - self._since
                self._windows.add(self._ended, wall, wall, None, now, self._ended)
                self._windows.step_begins()
                self._since, self._ended = now, 0

    def emit(self, now: float, last: bool = False) -> None:
        """Send what has waited for long."""
        with self._lock:
            if self._windows is not None and (last or self._windows.idle(now)):
                self._windows.emit(now)


_scheduled = Scheduled()


@on_import("tensorflow.python.distribute.coordinator.cluster_coordinator")
def _closures(module: Any) -> None:
    cls = module.Closure
    init, execute = cls.__init__, cls.execute_on

    @functools.wraps(init)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        before = _tracing_begins()
        try:
            init(self, *args, **kwargs)
        finally:
            _tracing_ends(self, before)

    @functools.wraps(execute)
    def execute_on(self: Any, *args: Any, **kwargs: Any) -> Any:
        trains, done = _begins(self), False
        try:
            result = execute(self, *args, **kwargs)
            done = True
            return result
        finally:
            if trains:
                _ends(done)

    cls.__init__, cls.execute_on = made, execute_on


@guarded(HOOK)
def _tracing_begins() -> Optional[Region]:
    """Whoever sees a gradient traced in this thread tells its region: one of this closure's own. Returns the thread's,
    or None where what is traced is none of ours."""
    state = current()
    if state.inside or not ours():
        return None
    before, state.region, state.inside = state.region, Region(), True
    return before


@guarded(HOOK)
def _tracing_ends(closure: Any, before: Optional[Region]) -> None:
    if before is None:
        return
    state = current()
    traced, state.region, state.inside = state.region.trained, before, False
    function = getattr(closure, "_concrete_function", None)
    if traced and function is not None:
        TRAINS.put(function, True)


@guarded(HOOK, default=False)
def _begins(closure: Any) -> bool:
    if not TRAINS.get(getattr(closure, "_concrete_function", None)):
        return False
    _scheduled.begins(_counter())
    return True


@guarded(HOOK)
def _ends(done: bool) -> None:
    _scheduled.ends(_counter(), done)
    if done:
        set_phase("training")


@every(POLL_S)
def _poll() -> None:
    _scheduled.emit(_counter())


def settle() -> None:
    """Send all that was summed."""
    _scheduled.emit(_counter(), last=True)


atexit.register(settle)
