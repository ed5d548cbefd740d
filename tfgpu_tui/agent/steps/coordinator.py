"""Training steps that a coordinator has other processes do: `ClusterCoordinator.schedule` of a function that trains.

Such a function runs in a worker, several at once, and here a thread waits for the end of each. So a step is one that
ended, and its time is the time in which any of them ran, shared by those that ended in it: what a worker waits for its
input, and how long it computes, is not seen from here, and said to be unknown.

A stop ends such a loop as it ends others of one's own: by what Ctrl-C would do, in the main thread, and only while
that is in a call of the coordinator's that schedules or waits: `schedule`, `join`, `done`, `fetch`. What was scheduled
before may run on until the process ends, so nothing is taken from under it.

Private API: `Closure` in tensorflow/python/distribute/coordinator/cluster_coordinator.py, its `__init__`, which traces,
`execute_on`, and `_concrete_function`, which only closures of a tf.function have: plain Python runs step by step in the
thread that waits, where `custom_loop` sees it. TensorFlow 2.15 to 2.21.
"""

from __future__ import annotations

import atexit
import functools
import signal
import threading
import time
from typing import Any, Optional

from ..hooks.runtime import every, guarded, hurry, on_import, send, set_phase
from . import stopping
from . import windows as steps
from .custom_loop import ours
from .custom_region import TRAINS, Region
from .custom_steps import current

HOOK = "coordinator"
POLL_S = 0.25
CALLS = ("schedule", "join", "done", "fetch")
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

    def wanted(self) -> Optional[str]:
        """Why this loop, in which something trained, is to end; None while it should go on."""
        with self._lock:
            return None if self._windows is None else stopping.wanted(self._ended)

    @property
    def fit(self) -> int:
        """The number of this loop; 0 before its first step."""
        return self._windows.fit if self._windows is not None else 0


class Calls:
    """The main thread's calls of the coordinator: within one, and only there, it is interrupted for a stop."""

    def __init__(self, scheduled: Scheduled) -> None:
        self._scheduled = scheduled
        self._lock = threading.Lock()
        self._depth = 0
        self._stopped = False

    def begins(self) -> None:
        """One more; a stop that came since the last one takes effect."""
        with self._lock:
            self._depth += 1
        self.stop_if_wanted()

    def ends(self) -> None:
        """It returned, or raised: what the main thread does now is its own."""
        with self._lock:
            self._depth -= 1

    def stop_if_wanted(self) -> None:
        """From any thread. A signal to the main thread alone, which ends its wait for a lock, as `interrupt_main` does
        not; to a handler of Python's only, since the process would die of another one's. The lock is held, so that the
        call can't return before the signal is there."""
        reason = self._scheduled.wanted() if self._depth and not self._stopped else None
        if reason is None or not callable(signal.getsignal(signal.SIGINT)):
            return
        with self._lock:
            if not self._depth or self._stopped:
                return
            self._stopped = True
            stopping.keep_iterators()
            self._scheduled.emit(_counter(), last=True)
            send("train_end", fit=self._scheduled.fit, phase="train", stopped=reason)
            hurry()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


_scheduled = Scheduled()
_calls = Calls(_scheduled)


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
    for name in CALLS:
        _patch_call(module.ClusterCoordinator, name)


def _patch_call(cls: Any, name: str) -> None:
    original = getattr(cls, name)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        of_main = _call_begins()
        try:
            return original(self, *args, **kwargs)
        finally:
            if of_main:
                _call_ends()

    setattr(cls, name, call)


@guarded(HOOK, default=False)
def _call_begins() -> bool:
    if threading.current_thread() is not threading.main_thread():
        return False
    _calls.begins()
    return True


@guarded(HOOK)
def _call_ends() -> None:
    _calls.ends()


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
        _calls.stop_if_wanted()


@every(POLL_S)
def _poll() -> None:
    _scheduled.emit(_counter())
    _calls.stop_if_wanted()


def settle() -> None:
    """Send all that was summed."""
    _scheduled.emit(_counter(), last=True)


atexit.register(settle)
