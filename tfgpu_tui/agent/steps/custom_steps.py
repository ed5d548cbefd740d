"""What one thread does in loops of the user's own: batches taken, functions called, gradients; summed to steps.

Each thing that happens is told to the four parts that know of it, under one lock:

    custom_pass       which iterators are taken together, and whether anything trains on their batches
    custom_step       the step in progress, and what ends it (the table of transitions)
    custom_region     the function that runs now, which may be looked at before it ends
    custom_repeats    whether the steps repeat; then `custom_lane` notes the calls, and nothing is told one by one

A step that ended goes to a window of `windows`.
"""

from __future__ import annotations

import _thread
import atexit
import threading
import time
import weakref
from typing import Any, Optional

from ..hooks.runtime import before_trace, every, execution_done, guarded, hurry, send, set_phase, traces
from . import agent_cost, custom_repeats, device_wait, stopping
from . import windows as steps
from .custom_lane import Lane
from .custom_pass import Pass
from .custom_region import POLL_S, Region
from .custom_step import Done, Step

HOOK = "custom_loop"
SUM_EVERY_S = 0.1
STALE_S = custom_repeats.STALE_S
_DUE = {"due"}
_counter = time.perf_counter


class ThreadState:
    """What one thread does. What has no underscore is its own; the rest is shared with the poll, under the lock."""

    def __init__(self, alive: Any) -> None:
        """`alive` goes with the thread."""
        self.alive = weakref.ref(alive)
        """None once the thread is gone."""
        self.inside = False
        """In a function (or `train_on_batch`, or a session) that is timed as a whole."""
        self.recording = False
        """From a tape's begin until its gradient is taken: the forward pass."""
        self.applying = False
        """In an optimizer."""
        self.expects_model = False
        """Whether the next model that is called eagerly is to be told."""
        self.region = Region()
        self.thread = threading.get_ident()
        self.lock = threading.RLock()
        self._pass = Pass()
        self._step = Step(self._counted)
        self._repeats = custom_repeats.Repeats(self.thread)
        self._windows: dict[tuple[str, str], steps.Windows] = {}
        self._label = "custom"
        self._trained_ever = False
        self._fit = 0
        self._traces = traces()
        """When the step began."""
        self._read_before = device_wait.waited(self.thread)
        self._stopped = False

    @property
    def lane(self) -> Optional[Lane]:
        """The lane of a loop whose steps repeat; None where it has none."""
        return self._repeats.lane

    @property
    def computes(self) -> bool:
        """Whether the thread is within the part of an eager step that counts as compute. Read from any thread."""
        return self.recording or self.applying

    # -- batches

    def next_begins(self, iterator: Any, start: float) -> None:
        with self.lock:
            self.close_lane()
            self._finish_batch(iterator, start)
            self._results_read()
            if not self._pass.has(iterator):
                if not self._pass.in_hand:
                    self._new_pass(start)
                self._pass.add(iterator)
            self._step.next_asked(start)

    def batch_arrived(self, iterator: Any, start: float, end: float, others: float = 0.0) -> None:
        """`others`: seconds of the call in which other workers were waited for."""
        with self.lock:
            self._batch_arrived(iterator, start, end, others)
            self.recording, self.expects_model = False, True
            if others:
                self._read_before = device_wait.waited(self.thread)  # on a GPU their answer is a result that is read

    def _batch_arrived(self, iterator: Any, start: float, end: float, others: float = 0.0) -> None:
        self._repeats.called(iterator, start, end)
        self._step.batch_arrived(start, end, others)
        self._pass.arrived(iterator)

    def _finish_batch(self, iterator: Any, now: float) -> None:
        """The next batch is asked for: what was done with the one before is a step, or else was no training."""
        done_with = self._pass.asked(iterator)
        if self._step.ended is not None:
            self._step.next_asked(now)
        elif done_with and self._step.base is not None and self._pass.phase != "train":
            self._pass.untrained(*self._step.not_trained(now), now)
            self._step_begins()
            self._add_tested()

    def _add_tested(self) -> None:
        tested = self._pass.tested()
        if not tested:
            return
        phase = self._pass.phase = "test" if self._trained_ever else "predict"
        set_phase("evaluating" if phase == "test" else "predicting")
        windows = self._windows_of(phase)
        windows.step_begins()
        for batch in tested:
            windows.add(1, batch.wall, batch.wait + batch.busy, batch.wait, _counter())

    def _new_pass(self, now: float) -> None:
        for windows in self._windows.values():
            windows.emit(now)
        self._pass = Pass()
        self._step.new_pass(now)
        self._step_begins()

    def _step_begins(self) -> None:
        self._pass.next_step()
        self._repeats.step_begins()
        self._traces = traces()

    def _results_read(self) -> None:
        """What the thread waited for results since the last time."""
        before, self._read_before = self._read_before, device_wait.waited(self.thread)
        self._step.result_read(self._read_before - before)

    # -- functions

    def region_begins(self, key: Any, start: float, label: str) -> None:
        with self.lock:
            self.close_lane()
            self._region_begins(key, start, label)

    def _region_begins(self, key: Any, start: float, label: str) -> None:
        self._results_read()
        self._step.function_begins(key, start)
        self.region.begins(key, start, label)
        if self._repeats.waits is None:
            self._repeats.waits = self.region.waits

    def region_ends(self, key: Any, end: float) -> None:
        with self.lock:
            trained = self._region_over(key, end)
            if trained and self._is_plain(self.region.label) and self._repeats.ready(self._step.ended, self._traces):
                self._open_lane()
        if trained:
            execution_done(None, "train", steps.total("train") + self._step.count)
            self._stop_if_wanted()

    def _region_over(self, key: Any, end: float) -> bool:
        """The outermost function that ran is done; returns whether it trained."""
        if self.region.start is None:
            return False
        start = self.region.start
        part, trained = self.region.ends(key, end)
        if part.batches > 1:
            self._step.loop_seen()
        self._step.function_ended(part.start, end, part.wait)
        self._read_before = device_wait.waited(self.thread)  # within the function: it is in its time
        self._pass.used()
        self._repeats.called(key, start, end)
        if trained:
            self._trains()
            self._step.function_trained(key, end, max(part.batches, 1), self.region.label)
        elif part.batches and self._step.ended is None:
            # A function that takes its own batches and trains on none of them.
            self._finish_batch(key, end)
        return trained

    def _is_plain(self, label: str) -> bool:
        return label == "custom" and self._step.count == 1

    # -- eager code

    def model_called(self, now: float) -> None:
        """A model (or a layer) is called eagerly, the first time since a batch arrived or a tape began."""
        self.expects_model = False
        with self.lock:
            if self._pass.in_hand:
                self._pass.model_called(now)

    def tape_begins(self, now: float) -> None:
        """A gradient tape begins to record eagerly: the forward pass."""
        if not self.inside:
            self.recording = self.expects_model = True
            with self.lock:
                self.close_lane()
                self._results_read()
                self._step.tape_begins(now)

    def gradient_taken(self, now: float) -> None:
        """A gradient was taken eagerly."""
        if not self.inside and not self.applying:
            self.recording = False
            with self.lock:
                self.close_lane()
                self._trains_eagerly()
                self._step.gradient_taken(now)

    def applied(self, optimizer: Any, start: float, now: float) -> None:
        """An optimizer was applied eagerly."""
        if self.inside:  # within train_on_batch
            return
        self.recording = False
        with self.lock:
            self.close_lane()
            self._trains_eagerly()
            self._step.optimizer_applied(optimizer, start, now)
        execution_done(None, "train", steps.total("train") + 1)
        self._stop_if_wanted()

    def _trains_eagerly(self) -> None:
        self._read_before = device_wait.waited(self.thread)  # it is in the step's time
        self._trains()
        self._pass.used()

    # -- steps

    def _trains(self) -> None:
        """Something trained in the step in progress."""
        if not self._trained_ever:
            self._trained_ever = True
            self._fit = steps.new_loop()
        self._pass.phase = "train"
        for batch in self._pass.tentative:  # gradients were being accumulated
            self._step.belongs_too(batch.wall, batch.wait, batch.busy)
        self._pass.tentative.clear()
        set_phase("training")

    def _counted(self, step: Done) -> None:
        self._label = step.label
        windows = self._windows_of("train")
        windows.step_begins(self._traces)
        # Each turn of a loop inside of a function counts as an execution: else its warm-up would never end.
        windows.add(step.steps, step.wall, step.wait + step.compute, step.wait, _counter(), step.steps)
        self._repeats.step_counted(step.label == "custom" and step.steps == 1)
        self._step_begins()

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
        reason = stopping.wanted(self._step.count)
        if reason is None or self._stopped or threading.current_thread() is not threading.main_thread():
            return
        self._stopped = True
        with self.lock:
            self._step.stale()
            for windows in self._windows.values():
                windows.emit(_counter())
        send("train_end", fit=self._fit, phase="train", stopped=reason)
        hurry()
        _thread.interrupt_main()

    # -- the lane of steps that repeat

    def _open_lane(self) -> None:
        base = self._step.base
        assert base is not None
        self._repeats.open(self._look_at_lane, self._read_before)
        self._step.moved(base)  # from where the step began that the lane takes over
        self._pass.next_step()
        self._traces = traces()

    @guarded(HOOK)
    def _look_at_lane(self, lane: Lane) -> None:
        """Sum the steps that the lane noted. In the thread that trains, between two calls."""
        start = _counter()
        with self.lock:
            only_due = lane.wanted == _DUE
            lane.wanted.clear()
            traced = self._repeats.traces
            done = lane.hand_over(self._repeats.clocks())
            if lane.closed:
                self._tell_rest(lane)
            elif not only_due:
                self._fold(lane)
                if traced is not None or lane.mixed():
                    self.close_lane()
                    self._traces = self._traces if traced is None else traced
        if traced is not None:
            execution_done(None, "train", steps.total("train") + self._step.count)
        self._stop_if_wanted()
        agent_cost.note(_counter() - start, done)

    def lane_traces(self) -> None:
        """Something is about to be traced in this thread."""
        self._repeats.traced()

    def _fold(self, lane: Lane) -> None:
        base = self._step.base
        if base is not None:
            moved = self._repeats.fold(lane, base, self._add_run)
            if moved != base:
                self._step.moved(moved)
                self._read_before = self._repeats.read

    def _add_run(self, run: custom_repeats.Run) -> None:
        windows = self._windows_of("train")
        windows.step_begins()
        windows.add_run(run.walls, run.blocked, run.wait, run.end)

    def sum_lane(self) -> None:
        """Sum what the lane handed over. Off the training's thread."""
        with self.lock:
            if self.lane is not None:
                self._fold(self.lane)

    def close_lane(self) -> None:
        """Back to what understands every loop: it gets the last step, and the calls after it."""
        lane = self._repeats.close()
        if lane is not None:
            self._fold(lane)
            self._repeats.step_begins()
            self._tell_rest(lane)

    def _tell_rest(self, lane: Lane) -> None:
        """What the lane noted and nobody summed, as if there had been no lane."""
        for call, takes, start, end in custom_repeats.left_in(lane):
            call = _Gone() if call is None else call
            if takes:
                self._finish_batch(call, start)
                self._batch_arrived(call, start, end)
                continue
            self._region_begins(call, start, "custom")
            self.region.trained = isinstance(call, _Gone)
            self._region_over(call, end)

    # -- from the link's thread

    def poll(self, now: float) -> None:
        """Show what a long function does while it runs, and the last steps of a loop that is over."""
        with self.lock:
            ended = self._step.ended
            if self.lane is not None:
                self._fold(self.lane)
                if self._repeats.seen_from_outside(self.lane, now):
                    self.close_lane()
            elif self.region.start is not None:
                self._poll_region(now)
            elif ended is not None and now - ended > STALE_S and not self.computes:
                self._step.stale()
            for windows in self._windows.values():
                if windows.idle(now):
                    windows.emit(now)

    def _poll_region(self, now: float) -> None:
        found = self.region.look(now)
        if found is None:
            return
        key, part = found
        self._trains()
        self._step.part_told(key, part.start, now, part.wait, part.batches, self.region.label)

    def close(self) -> None:
        """Count the step that is pending, and send all that was summed: the thread is gone, or the process ends."""
        with self.lock:
            self.close_lane()
            self._step.gone()
            if self._pass.phase is not None:
                self._add_tested()
            self._pass.tentative.clear()
            for windows in self._windows.values():
                windows.emit(_counter())


class _Gone:
    """In place of a function or an iterator that no longer exists."""


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


def computes(thread: int) -> bool:
    """Whether that thread is within an eager step: not its own Python, but the work of the ops that it starts."""
    return any(state.thread == thread and state.computes for state in list(_states))


def training_traced() -> None:
    """A gradient or an optimizer is being traced: the function that runs now trains. tf.distribute traces the part of
    each replica in a thread of its own, so the function may be another thread's."""
    state = current()
    if state.inside:
        state.region.trained = True
        return
    for other in list(_states):
        if other.inside:
            other.region.trained = True


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
