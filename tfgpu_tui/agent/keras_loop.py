"""Keras' own loops (fit, evaluate, predict) from the boundaries that they all share: their CallbackList.

    begin.entry  begin.exit        end.entry   end.exit
        | callbacks |  train_function  | callbacks |  other host work until the next begin.entry

The train function holds the wait for the batch, in Keras 2 and 3 alike. A step's wall time runs from end.exit to
end.exit; the first one of an epoch starts at its begin.entry. The patches are in `keras_hooks`, the notes of each step
in `keras_stamps`; here they are summed, a few times a second and wherever something begins or ends.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import weakref
from collections.abc import Callable
from operator import sub
from types import FrameType
from typing import Any, Optional

from . import agent_cost, callback_times, clock, input_wait, steps, stopping
from .keras_stamps import NOTE, Stamps
from .runtime import before_trace, every, execution_done, guarded, hurry, is_off, send, set_phase, stop_after

HOOK = "keras_loop"
PHASES = {"train": "training", "test": "evaluating", "predict": "predicting"}
LOOK_AFTER_S = 1.0
"""How long a train function may run before we look whether its fit is still on the stack."""
LOOK_EVERY_S = 0.25
_counter = time.perf_counter


class Loop:
    """One fit, evaluation or prediction that runs now."""

    def __init__(self, owner: Any, phase: str, fit: int, frame_id: int) -> None:
        self.owner = weakref.ref(owner)
        self.model: Callable[[], Any] = weakref.ref(owner.model) if owner.model is not None else _nothing
        self.phase = phase
        self.fit = fit
        self.frame_id = frame_id
        self.thread = threading.get_ident()
        self.params: dict[str, Any] = dict(getattr(owner, "params", None) or {})
        self.eager = input_wait.eager()
        self.windows = steps.Windows(phase, "fit", fit)
        self.epoch: Optional[int] = None
        self.epoch_started = self.started = _counter()
        self.epoch_steps = 0
        self._last_batch = -1
        self._first_wait: Optional[float] = None
        """What the first execution of this epoch waited; None before it."""
        self.validation_s = 0.0
        self.last_exit: Optional[float] = None
        """End of the last step of this epoch; None before its first."""
        self.last_step: Optional[float] = None
        """End of the last step of this loop, for the time at the edge between epochs."""
        self.logs: Any = None
        self.told_step = 0
        self._waited, self._batches = self._read()
        self.hooks = callback_times.install(owner.callbacks, phase, self.windows.callbacks)
        self.epoch_hooks: dict[str, float] = {}
        if phase == "train":
            self.hooks += callback_times.install(owner.callbacks, "epoch", self.epoch_hooks)
        self._spe = _steps_per_execution(owner.model)
        self._replicas = _replicas(owner.model)
        # What is asked for at an exact step is looked at after each step.
        self._each = phase == "train" and stop_after() is not None
        self.stamps = Stamps(owner, phase, self._before_execution, self._after_execution)
        self.stamps.wanted.add("first")

    def _bound(self) -> Optional[str]:
        if self.blocked():
            return self.blocked()
        if self._spe > 1 and input_wait.overlaps():
            return "steps_per_execution > 1: TensorFlow fetches the next batch while it computes"
        if self._replicas > 1:
            return f"{self._replicas} replicas: they compete for the cores while the next batch is fetched"
        return None

    def blocked(self) -> Optional[str]:
        """Why no stopwatch may be put into this loop's graphs; None where it may."""
        if self._spe > 1 and self._replicas > 1:
            return "several replicas with steps_per_execution > 1: the wait is not measured there"
        return None

    # -- the executions

    @guarded(HOOK)
    def _before_execution(self) -> None:
        """Before an execution after which we look: before all others nothing is done."""
        if self.last_exit is None:
            self.last_exit = _counter()
            self._waited, self._batches = self._read()
        self.windows.step_begins()

    @guarded(HOOK)
    def _after_execution(self, logs: Any) -> None:
        start = _counter()
        self.stamps.wanted.clear()
        self.logs = logs
        executions = self.fold()
        if self._each or self.windows.warming_up:
            self.stamps.wanted.add("next")
        execution_done(self.model(), self.phase, steps.total(self.phase))
        if self.phase == "train" and stopping.wanted():
            model = self.model()
            if model is not None:
                model.stop_training = True
        agent_cost.note(_counter() - start, executions)

    def _read(self) -> tuple[float, int]:
        """What this thread waited for so far, and how many batches came in graphs."""
        seconds, batches = input_wait.in_graphs()
        return seconds + self.eager.seconds, batches

    def fold(self) -> int:
        """Sum the executions that were noted since the last time; returns how many."""
        spans = self.stamps.take()
        if not spans:
            return 0
        began, ended, left, batches = (spans[place::NOTE] for place in range(NOTE))
        waited, taken = self._read()
        wait = waited - self._waited if input_wait.known() else None
        counts = self._counts(batches, taken - self._batches) if self._spe > 1 else None
        self._waited, self._batches = waited, taken
        since = began[0] if self.last_exit is None else self.last_exit
        walls = list(map(sub, left, [since, *left]))
        # Where the begin was not seen (0.0), it is not known how long the function took.
        seen = ended if all(began) else [end for begin, end in zip(began, ended) if begin]
        function = sum(seen) - sum(map(abs, began))
        self.windows.wait_bound = self._bound()
        self.windows.add_run(walls, function, wait, left[-1], counts)
        if not self.epoch_steps and len(walls) == 1:  # after the first execution of an epoch we always look
            self._first_wait = None if wait is None else max(wait, 0.0)
        self.epoch_steps += len(walls) if counts is None else sum(counts)
        self.last_exit = self.last_step = left[-1]
        return len(walls)

    def _counts(self, batches: list[Any], taken: int) -> list[int]:
        """Steps of each execution with steps_per_execution > 1. The last one of an epoch may hold fewer, and Keras 3
        names the batch that it would have ended with: then what the graphs took says how many there were."""
        counts = []
        planned = self.params.get("steps")
        for batch in batches:
            last = batch if isinstance(batch, int) else self._last_batch + self._spe
            last = min(last, planned - 1) if planned else last
            counts.append(max(1, last - self._last_batch))
            self._last_batch = last
        missing = sum(counts) - taken
        if taken > 0 and 0 < missing < counts[-1]:
            counts[-1] -= missing
        return counts

    def emit(self) -> None:
        """Send what was summed of it so far."""
        self.fold()
        self.windows.emit(_counter())

    def leave_out(self) -> None:
        """What was waited for up to now was not this loop's, but a validation's."""
        self._waited, self._batches = self._read()

    # -- edges

    def epoch_begins(self, epoch: Any) -> None:
        now = _counter()
        self.epoch = self.windows.epoch = int(epoch) + 1
        self.epoch_started = now
        self.epoch_steps = 0
        self.validation_s = 0.0
        self.last_exit = None
        self._last_batch = -1
        self._first_wait = None
        self.stamps.wanted.add("epoch")
        self.epoch_hooks.clear()
        edge = None if self.last_step is None else now - self.last_step
        plan = {"epochs": self.params.get("epochs"), "steps": self._planned()}
        send("epoch", state="begin", epoch=self.epoch, fit=self.fit, edge_s=edge, **plan)

    def _planned(self) -> Optional[int]:
        owner = self.owner()
        params = getattr(owner, "params", None) or self.params
        planned = params.get("steps")
        return int(planned) if isinstance(planned, int) and planned > 0 else None

    def epoch_ended(self, logs: Any) -> None:
        self.fold()
        now = _counter()
        send(
            "epoch",
            state="end",
            epoch=self.epoch,
            epochs=self.params.get("epochs"),
            steps=self.epoch_steps,
            fit=self.fit,
            wall_s=now - self.epoch_started,
            validation_s=self.validation_s,
            first_wait_s=self._first_wait,
            callbacks=dict(self.epoch_hooks),
            metrics=steps.describe(logs),
        )
        self.last_exit = None

    def ended(self) -> None:
        self.emit()
        self.stamps.remove()
        callback_times.remove(self.hooks)
        stopped = stopping.wanted() if self.phase == "train" else None
        send("train_end", fit=self.fit, phase=self.phase, stopped=stopped)
        hurry()


def _nothing() -> None:
    """In place of a reference to a model, where there is none."""


_running: list[Loop] = []
"""Loops that run now, outermost first: a validation lies inside of its fit."""


def running() -> list[Loop]:
    """The loops that run now, outermost first. From any thread."""
    return list(_running)


def active() -> bool:
    """Whether one of Keras' own loops runs in this thread now: others keep out of its time."""
    if not _running:
        return False
    loop = _running[-1]
    if loop.thread != threading.get_ident():
        return False
    if loop.stamps.function[0] > 0.0:
        return True
    # A fit that an exception ended never says so: look for its frame.
    _drop_dead()
    return bool(_running)


def _frames() -> set[int]:
    frame: Optional[FrameType] = sys._getframe(1)
    found = set()
    while frame is not None:
        found.add(id(frame))
        frame = frame.f_back
    return found


def _drop_dead() -> None:
    """Forget the loops of this thread whose own frame is no longer on the stack."""
    alive = _frames()
    thread = threading.get_ident()
    while _running and _running[-1].thread == thread and _running[-1].frame_id not in alive:
        _running.pop().ended()


@guarded(HOOK)
def settle() -> None:
    """Send what was summed of the loops that run, or that an exception ended."""
    _drop_dead()
    for loop in list(_running):
        loop.emit()


# An exception that ends the script in the middle of a fit takes no step away that was done.
atexit.register(settle)


@guarded(HOOK)
def begin(owner: Any, phase: str, frame_id: int) -> None:
    _drop_dead()
    # A validation carries the number of its fit, an evaluation on its own that of the last one.
    fit = steps.new_loop() if phase == "train" else steps.current_loop()
    if _running:
        _running[-1].emit()
    loop = Loop(owner, phase, fit, frame_id)
    _running.append(loop)
    clock.blocked = loop.blocked()
    set_phase(PHASES[phase])


@guarded(HOOK)
def end(owner: Any, phase: str) -> None:
    loop = current(owner, phase)
    if loop is None:
        return
    while _running and _running[-1] is not loop:
        _running.pop()
    _running.pop()
    loop.ended()
    outer = _running[-1] if _running else None
    if outer is None:
        clock.blocked = None
        set_phase("idle")
    else:
        clock.blocked = outer.blocked()
        outer.validation_s += _counter() - loop.started
        outer.leave_out()
        outer.stamps.wanted.add("after validation")
        set_phase(PHASES[outer.phase])


def current(owner: Any, phase: str) -> Optional[Loop]:
    """The running loop of this CallbackList and phase; the innermost one in nearly every call."""
    for loop in reversed(_running):
        if loop.phase == phase and loop.owner() is owner:
            return loop
    return None


def noted(phase: str) -> int:
    """Steps that are done but not summed yet, and so not in `steps.total`. From any thread."""
    return sum(loop.stamps.executions() * loop._spe for loop in list(_running) if loop.phase == phase)


@before_trace
def _traced() -> None:
    """What was done so far ran without this trace, and the execution that is traced now is looked at when it ends."""
    for loop in _running:
        if loop.thread == threading.get_ident():
            loop.fold()
        loop.stamps.wanted.add("traced")


@every(LOOK_EVERY_S)
def _look() -> None:
    """Off the training's thread: have it sum what it noted, after the execution that runs now."""
    for loop in list(_running):
        function = loop.stamps.function
        begun = function[0]
        if begun > 0.0 and _counter() - begun > LOOK_AFTER_S and function[0] == begun:
            function[0] = -begun  # perhaps an exception left it: whoever asks looks for its frame
        if not is_off(HOOK):
            loop.stamps.wanted.add("due")


def _steps_per_execution(model: Any) -> int:
    # Keras 3: an int; Keras 2: a variable, under a strategy one of several replicas.
    value: Any = getattr(model, "steps_per_execution", None)
    if hasattr(value, "read_value"):
        value = value.read_value().numpy()
    return int(value or 1)


def _replicas(model: Any) -> int:
    strategy = getattr(model, "distribute_strategy", None)
    return int(getattr(strategy, "num_replicas_in_sync", 1))


@every(1.0)
def _tell_metrics() -> None:
    """Off the training's thread: turning a metric to a number may have to wait for the device."""
    for loop in list(_running):
        step, logs = steps.total(loop.phase), loop.logs
        if logs and loop.phase == "train" and step != loop.told_step:
            loop.told_step = step
            send("metrics", step=step, epoch=loop.epoch, phase=loop.phase, values=steps.describe(logs))
