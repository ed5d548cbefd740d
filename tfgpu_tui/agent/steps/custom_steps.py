"""Sums the steps of loops of the user's own, from what one thread does: batches taken, functions called, gradients.

    next() ... next() | function(s), or eager code up to the optimizer | ... | next() ...
      input wait      |                 compute                        | host

A step ends with the last thing that trained before the next batch is asked for, or before the same function or
optimizer trains again. Time goes from end to end. An iterator that was not in use before, and whose batches are not
mixed with those of the others, begins a new pass (an epoch, a validation): the time before its first batch belongs to
no step.
"""

from __future__ import annotations

import _thread
import atexit
import threading
import time
import weakref
from collections.abc import Callable
from operator import sub
from typing import Any, Optional

from ..hooks.runtime import before_trace, every, execution_done, guarded, hurry, send, set_phase, stop_after, traces
from . import agent_cost, device_wait, input_wait, stopping
from . import windows as steps
from .custom_lane import NOTE, Lane

HOOK = "custom_loop"
TENTATIVE_BATCHES = 4
"""Batches of a pass without a gradient after which the pass counts as a test: before, gradients may be accumulating."""
POLL_S = 0.25
SUM_EVERY_S = 0.1
STALE_S = 1.0
ALIKE = 8
"""Steps in a row of the very same calls after which a loop gets a lane (`custom_lane`)."""
_DUE = {"due"}
_counter = time.perf_counter


class Pass:
    """One pass over one iterator (or several that are taken together)."""

    def __init__(self) -> None:
        self.iterators: list[weakref.ref[Any]] = []
        self.phase: Optional[str] = None
        """`train` once something trained on its batches, `test` (or `predict`) once it is clear that nothing does."""
        self.tentative: list[tuple[float, float, float, bool]] = []
        """Batches that nothing trained on so far: wall, function, wait, and whether a function was called with it."""

    def has(self, iterator: Any) -> bool:
        if self.iterators and self.iterators[0]() is iterator:  # nearly always
            return True
        return any(ref() is iterator for ref in self.iterators)

    def add(self, iterator: Any) -> None:
        self.iterators = [*(ref for ref in self.iterators if ref() is not None), weakref.ref(iterator)]


class ThreadState:
    """What one thread does. `inside` and `applying` are its own; the rest is shared with the poll, under the lock."""

    def __init__(self, alive: Any) -> None:
        """`alive` goes with the thread."""
        self.alive = weakref.ref(alive)
        """None once the thread is gone."""
        self.inside = False
        self.applying = False
        self._thread = threading.get_ident()
        self.lock = threading.RLock()
        self._windows: dict[tuple[str, str], steps.Windows] = {}
        self._label = "custom"
        self._pass = Pass()
        self._trained_ever = False
        self._fit = 0
        # The step that is being summed, from the end of the one before.
        self._base: Optional[float] = None
        self._wait = 0.0
        self._busy = 0.0
        self._read = 0.0
        """The part of `_busy` in which the script waited for results between its calls (`device_wait`)."""
        self._read_before = device_wait.waited(self._thread)
        self._arrived: Optional[float] = None
        self._outstanding: set[int] = set()
        """Iterators whose batch arrived, while nothing that we see was called since."""
        self._tape: Optional[float] = None
        """When the first gradient tape since then began to record, eagerly."""
        self._called = False
        self._traces = traces()
        # What trained since then, and the sums at the end of the last such thing.
        self._keys: set[int] = set()
        self._count = 0
        self._end: Optional[float] = None
        self._at_end = (0.0, 0.0)
        # The outermost function that runs now.
        self._region: Optional[float] = None
        self._region_key: Callable[[], Any] = _nothing
        self._region_before: list[tuple[float, int]] = []
        self._step_before: Optional[list[tuple[float, int]]] = None
        """The graphs' waits before the first function of this step."""
        self.region_trained = False
        self._region_label = "custom"
        self._polled = False
        self._stopped = False
        # Which calls make a step, to see when they repeat.
        self._calls: list[weakref.ref[Any]] = []
        self._times: list[float] = []
        self._calls_before: list[weakref.ref[Any]] = []
        self._alike = 0
        self._lane: Optional[Lane] = None
        self._lane_traces: Optional[int] = None

    # -- batches

    def next_begins(self, iterator: Any, start: float) -> None:
        with self.lock:
            self.close_lane()
            self._finish_batch(iterator, start)
            self._results_read()
            if not self._pass.has(iterator):
                if not self._outstanding:
                    self._new_pass(start)
                self._pass.add(iterator)
            if self._base is None:
                self._base = start

    def batch_arrived(self, iterator: Any, start: float, end: float) -> None:
        with self.lock:
            self._calls.append(weakref.ref(iterator))
            self._batch_arrived(iterator, start, end)

    def _batch_arrived(self, iterator: Any, start: float, end: float) -> None:
        self._wait += end - start
        self._arrived = end
        self._tape = None
        self._outstanding.add(id(iterator))
        self._times += start, end

    def _results_read(self) -> None:
        """What the thread waited for results since the last time: it is the device's work."""
        before, self._read_before = self._read_before, device_wait.waited(self._thread)
        self._busy += self._read_before - before
        self._read += self._read_before - before

    def _finish_batch(self, iterator: Any, now: float) -> None:
        """The next batch is asked for: what was done with the one before is a step, or else was no training."""
        unseen = id(iterator) in self._outstanding  # plain eager code used its batch, or nobody did
        if unseen:
            self._outstanding.clear()
        used = (self._called or unseen) and not self._outstanding
        if self._end is not None:
            self._commit()
        elif used and self._base is not None and self._pass.phase != "train":
            wait, busy = self._wait, self._busy
            self._pass.tentative.append((now - self._base, wait + busy, wait, self._called))
            self._reset(now)
            if self._pass.phase is not None or len(self._pass.tentative) >= TENTATIVE_BATCHES:
                self._flush_tentative()

    def _flush_tentative(self) -> None:
        seen = [batch for batch in self._pass.tentative if batch[-1]]
        self._pass.tentative.clear()
        if not seen:
            return
        phase = "test" if self._trained_ever else "predict"
        self._pass.phase = phase
        set_phase("evaluating" if phase == "test" else "predicting")
        windows = self._windows_of(phase)
        windows.step_begins()
        for wall, function, wait, _ in seen:
            windows.add(1, wall, min(function, wall), wait, _counter())

    def _new_pass(self, now: float) -> None:
        for windows in self._windows.values():
            windows.emit(now)
        self._pass = Pass()
        self._reset(now)

    def _reset(self, base: Optional[float]) -> None:
        self._base = base
        self._wait = self._busy = self._read = 0.0
        self._called = False
        self._tape = None
        self._traces = traces()
        self._keys.clear()
        self._count = 0
        self._end = None
        self._calls = []
        self._times = []
        self._step_before = None

    # -- functions, optimizers

    def region_begins(self, key: Any, start: float, label: str) -> None:
        with self.lock:
            self.close_lane()
            if id(key) in self._keys:
                self._commit()
            self._results_read()
            if self._base is None:
                self._base = start
            self._region = start
            self._region_key = weakref.ref(key)
            self._region_label = label
            self.region_trained = label == "train_on_batch"
            self._region_before = input_wait.by_site()
            if self._step_before is None:
                self._step_before = self._region_before
            self._polled = False

    def region_ends(self, key: Any, end: float) -> None:
        with self.lock:
            trained = self._region_over(key, end)
            if trained and self._repeats():
                self._open_lane()
        if trained:
            execution_done(None, "train", steps.total("train") + self._count)
            self._stop_if_wanted()

    def _region_over(self, key: Any, end: float) -> bool:
        """The outermost function that ran is done; returns whether it trained."""
        if self._region is None:
            return False
        seconds, batches = input_wait.since(self._region_before, input_wait.by_site())
        # Keras 2 wraps the one batch that it was given in an iterator of its own: taking that back is no wait.
        wait = 0.0 if self._region_label == "train_on_batch" else min(seconds, end - self._region)
        self._wait += wait
        self._busy += end - self._region - wait
        self._read_before = device_wait.waited(self._thread)  # within the function: it is in its time
        self._called = True
        self._outstanding.clear()
        self._calls.append(weakref.ref(key))
        self._times += self._region, end
        self._region = None
        # All batches of a loop inside of the function may have been told while it ran.
        trained = self._trains(key) and not (self._polled and batches == 0)
        if trained:
            self._trained(key, end, max(batches, 1), self._region_label)
        elif batches and self._end is None:
            # A function that takes its own batches and trains on none of them.
            self._finish_batch(key, end)
        return trained

    def _trains(self, key: Any) -> bool:
        """Whether this function trains: seen while it was traced, and remembered with it."""
        if self.region_trained:
            try:
                key._tfgpu_trains = True
            except AttributeError:
                pass  # an object with slots is asked again at its next trace
            return True
        return bool(getattr(key, "_tfgpu_trains", False))

    def tape_begins(self, now: float) -> None:
        """A gradient tape begins to record eagerly: the forward pass."""
        if not self.inside and self._tape is None:
            self._tape = now
            with self.lock:
                self._results_read()

    def gradient_taken(self, now: float) -> None:
        """A gradient was taken eagerly."""
        if not self.inside and not self.applying:
            with self.lock:
                self.close_lane()
                # Without an optimizer that follows, the end of the step; with one, `applied` moves it.
                self._eager_training(now)

    def applied(self, optimizer: Any, now: float) -> None:
        """An optimizer was applied eagerly."""
        if self.inside:  # within train_on_batch
            return
        with self.lock:
            self.close_lane()
            if id(optimizer) in self._keys:
                # Its step before ended without a new batch: what came since then is this one.
                self._commit()
            self._keys.add(id(optimizer))
            self._eager_training(now)
        execution_done(None, "train", steps.total("train") + 1)
        self._stop_if_wanted()

    def _eager_training(self, now: float) -> None:
        if self._base is None:
            self._base = now
            return
        # What the script does before it records is its own Python's work.
        began = max(self._base, self._arrived or 0.0, self._tape or 0.0)
        self._busy = max(self._busy, self._read + now - began)
        self._read_before = device_wait.waited(self._thread)
        self._called = True
        self._outstanding.clear()
        called_functions = self._end is not None and self._label != "eager"
        self._trained(None, now, 1, self._label if called_functions else "eager")

    def _trained(self, key: Any, end: float, count: int, label: str) -> None:
        if not self._trained_ever:
            self._trained_ever = True
            self._fit = steps.new_loop()
        self._pass.phase = "train"
        if self._pass.tentative:
            # They were parts of this step: gradients were being accumulated.
            assert self._base is not None
            self._base -= sum(wall for wall, _, _, _ in self._pass.tentative)
            self._wait += sum(wait for _, _, wait, _ in self._pass.tentative)
            self._busy += sum(function - wait for _, function, wait, _ in self._pass.tentative)
            self._pass.tentative.clear()
        if key is not None:
            self._keys.add(id(key))
        self._count = max(self._count, count)
        self._end = end
        self._at_end = (self._wait, self._busy)
        self._label = label
        set_phase("training")

    def _commit(self) -> None:
        """The step that is pending ended: count it, and go on from its end."""
        if self._end is None or self._base is None:
            return
        end = self._end
        wait, busy = self._at_end
        # One reference for each object: the lists are the same where the objects are.
        alike = self._label == "custom" and self._count == 1 and self._calls == self._calls_before
        self._alike = self._alike + 1 if alike else 0
        self._calls_before = self._calls
        wall = end - self._base
        if wall > 0.0:
            blocked = min(wait + busy, wall)
            windows = self._windows_of("train")
            windows.step_begins(self._traces)
            # Each turn of a loop inside of a function counts as an execution: else its warm-up would never end.
            windows.add(self._count, wall, blocked, wait, _counter(), self._count)
        rest = self._wait - wait, self._busy - busy
        self._reset(end)
        self._wait, self._busy = rest
        self._read = self._busy  # what else is busy ends a step

    # -- the lane of steps that repeat

    def _repeats(self) -> bool:
        """Whether the step that is done now had the same calls as some before it, and nothing else trains in it."""
        calls = self._calls
        return (
            self._alike >= ALIKE
            and self._traces == traces()  # a step in which something was traced stays a warm-up of its own
            and calls == self._calls_before
            and len({id(ref) for ref in calls}) == len(calls) == len(self._times) // 2
            and self._label == "custom"
            and self._count == 1
            and self._end == self._times[-1]
            and stop_after() is None
            # A distributed iterator asks its parts, through the same wrapper.
            and all(_has_short_way(ref()) for ref in calls)
        )

    def _open_lane(self) -> None:
        calls = [ref() for ref in self._calls]
        takes = [type(call).__name__ == "OwnedIterator" for call in calls]
        self._lane = Lane(calls, takes, self._times, self._look_at_lane)
        self._lane_traces = None
        # From where the step began that the lane takes over.
        self._lane_sites = self._step_before or input_wait.by_site()
        self._lane_eager = input_wait.eager()
        self._lane_read = self._read_before
        self._reset(self._base)

    @guarded(HOOK)
    def _look_at_lane(self, lane: Lane) -> None:
        """Sum the steps that the lane noted. In the thread that trains, between two calls."""
        start = _counter()
        with self.lock:
            only_due = lane.wanted == _DUE
            lane.wanted.clear()
            traced = self._lane_traces
            done = lane.hand_over(self._clocks())
            if lane.closed:
                self._empty(lane)
            elif not only_due:
                self._fold_lane(lane)
                if traced is not None or lane.mixed():
                    self.close_lane()
                    self._traces = self._traces if traced is None else traced
        if traced is not None:
            execution_done(None, "train", steps.total("train") + self._count)
        self._stop_if_wanted()
        agent_cost.note(_counter() - start, done)

    def lane_traces(self) -> None:
        """Something is about to be traced in this thread."""
        if self._lane is not None:
            self._lane.leave_iterators()
            self._lane_traces = traces()
            self._lane.wanted.add("traced")

    def _fold_lane(self, lane: Lane) -> None:
        """Sum all of the whole steps that were handed over, but the last one. In any thread."""
        while lane.readings:
            notes, (sites, read) = lane.readings.popleft()
            lane.handed += notes
            self._sum_lane(lane, sites, read)

    def _clocks(self) -> tuple[list[tuple[float, int]], float]:
        """What waited in graphs, and for results, up to now."""
        return input_wait.by_site(), device_wait.waited(self._thread)

    def _sum_lane(self, lane: Lane, sites: list[tuple[float, int]], read: float) -> None:
        done = lane.steps()
        if not done or self._base is None:
            return
        size = NOTE * len(lane.order)
        notes = lane.take(done * len(lane.order))
        waited, busy = 0.0, 0.0
        for index, takes in enumerate(lane.takes):
            seconds = sum(notes[NOTE * index + 2 :: size]) - sum(notes[NOTE * index + 1 :: size])
            if takes:
                waited += seconds
                self._lane_eager.seconds += seconds
                self._lane_eager.batches += done
            else:
                busy += seconds
        in_functions = min(input_wait.since(self._lane_sites, sites)[0], busy)
        self._lane_sites = sites
        busy += read - self._lane_read
        self._lane_read = self._read_before = read
        ends = notes[size - 1 :: size]
        walls = list(map(sub, ends, [self._base, *ends]))
        self._base = ends[-1]
        windows = self._windows_of("train")
        windows.step_begins()
        windows.add_run(walls, min(waited + busy, sum(walls)), waited + in_functions, ends[-1])

    def sum_lane(self) -> None:
        """Sum what the lane handed over. Off the training's thread."""
        with self.lock:
            if self._lane is not None:
                self._fold_lane(self._lane)

    def close_lane(self) -> None:
        """Back to what understands every loop: it gets the last step, and the calls after it."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        lane.close()
        lane.hand_over(self._clocks())
        self._fold_lane(lane)
        self._empty(lane)

    def _empty(self, lane: Lane) -> None:
        while lane.readings:
            lane.handed += lane.readings.popleft()[0]
        while lane.handed:
            self._replay(lane, *lane.take(1))

    def _replay(self, lane: Lane, index: int, start: float, end: float) -> None:
        call = lane.calls[index]() or _Gone()
        if lane.takes[index]:
            self._finish_batch(call, start)
            self._calls.append(weakref.ref(call))
            self._batch_arrived(call, start, end)
        else:
            self.region_begins(call, start, "custom")
            self._region_over(call, end)

    def _look_at_lane_from_outside(self, lane: Lane, now: float) -> None:
        notes = lane.notes
        self._fold_lane(lane)
        if now - (notes[-1] if notes else lane.last) > STALE_S:
            self.close_lane()
        else:
            lane.wanted.add("mixed" if lane.mixed() else "due")

    def _windows_of(self, phase: str) -> steps.Windows:
        key = (phase, self._label)
        for other, windows in self._windows.items():
            if other != key:  # steps are numbered in the order in which they are sent
                windows.emit(_counter())
        if key not in self._windows:
            self._windows[key] = steps.Windows(phase, self._label, self._fit)
        return self._windows[key]

    def _stop_if_wanted(self) -> None:
        """There is nothing that asks such a loop to end, so it gets what Ctrl-C would do, between two steps."""
        reason = stopping.wanted(self._count)
        if reason is None or self._stopped or threading.current_thread() is not threading.main_thread():
            return
        self._stopped = True
        with self.lock:
            self._commit()
            for windows in self._windows.values():
                windows.emit(_counter())
        send("train_end", fit=self._fit, phase="train", stopped=reason)
        hurry()
        _thread.interrupt_main()

    # -- from the link's thread

    def poll(self, now: float) -> None:
        """Show what a long function does while it runs, and the last steps of a loop that is over."""
        with self.lock:
            if self._lane is not None:
                self._look_at_lane_from_outside(self._lane, now)
            elif self._region is not None:
                self._poll_region(now)
            elif self._end is not None and now - self._end > STALE_S:
                self._commit()
            for windows in self._windows.values():
                if windows.idle(now):
                    windows.emit(now)

    def _poll_region(self, now: float) -> None:
        assert self._region is not None and self._base is not None
        key = self._region_key()
        if key is None or not (self.region_trained or getattr(key, "_tfgpu_trains", False)):
            return
        sites = input_wait.by_site()
        seconds, batches = input_wait.since(self._region_before, sites)
        if batches < 2 or now - self._region < POLL_S:
            return
        if self._end is not None:
            self._commit()
        wait = self._wait + min(seconds, now - self._region)
        self._busy += now - self._region - min(seconds, now - self._region)
        self._wait = wait
        self._trained(key, now, batches, self._region_label)
        self._commit()
        self._region = now
        self._region_before = sites
        self._polled = True

    def close(self) -> None:
        with self.lock:
            self.close_lane()
            self._commit()
            if self._pass.tentative and self._pass.phase is not None:
                self._flush_tentative()
            for windows in self._windows.values():
                windows.emit(_counter())


def _has_short_way(call: Any) -> bool:
    """Whether a lane may take this function or iterator in place of our hook."""
    name = type(call).__name__
    return name == "Function" or (name == "OwnedIterator" and input_wait.is_ours(call))


class _Gone:
    """In place of a function or an iterator that no longer exists."""

    _tfgpu_trains = True


def _nothing() -> None:
    """In place of a reference to a function, where there is none."""


class _Alive:
    """Goes with its thread."""


class _Threads(threading.local):
    def __init__(self) -> None:
        self.alive = _Alive()
        self.state = ThreadState(self.alive)
        _states.append(self.state)


_states: list[ThreadState] = []
_threads = _Threads()


def current() -> ThreadState:
    """The state of the calling thread."""
    return _threads.state


def training_traced() -> None:
    """A gradient or an optimizer is being traced: the function that runs now trains. tf.distribute traces the part of
    each replica in a thread of its own, so the function may be another thread's."""
    state = current()
    if state.inside:
        state.region_trained = True
        return
    for other in list(_states):
        if other.inside:
            other.region_trained = True


@before_trace
def _traced() -> None:
    """The step in which something is traced is no step like the others."""
    current().lane_traces()


@every(POLL_S)
def poll() -> None:
    """See `ThreadState.poll`."""
    now = _counter()
    for state in list(_states):
        if state.alive() is None:
            _states.remove(state)
            state.close()
        else:
            state.poll(now)


@every(SUM_EVERY_S)
def sum_up() -> None:
    """See `ThreadState.sum_lane`."""
    for state in list(_states):
        state.sum_lane()


def settle() -> None:
    """Count the steps that are still pending, and send all that was summed."""
    for state in list(_states):
        state.close()


atexit.register(settle)
