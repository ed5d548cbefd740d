"""The steps of one fit, evaluation or prediction of Keras, summed from the notes of `keras_stamps`.

A few times a second the training's thread reads its clocks and hands its notes over; they are summed off that thread,
and at once only where something begins or ends.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from operator import sub
from typing import Any, Optional

from ..hooks.runtime import execution_done, guarded, hurry, looks_s, send, set_phase, stop_after
from . import agent_cost, callback_times, device_wait, input_wait, stopping, windows
from .keras_stamps import NOTE, Stamps

HOOK = "keras_loop"
COMPILE_S, COMPILE_TIMES = 0.03, 20
"""An execution is a compile's if it takes so many seconds, and so many times the shortest one. One layer of one unit
is compiled in 0.045 to 0.12 s, two convolutions in 0.16 to 0.43 s (two cores, TensorFlow 2.15 and 2.21)."""
_DUE = {"due"}
_counter = time.perf_counter


class Loop:
    """One fit, evaluation or prediction that runs now."""

    def __init__(self, owner: Any, phase: str, fit: int, frame_id: int, part: str) -> None:
        self.model: Callable[[], Any] = weakref.ref(owner.model) if owner.model is not None else _nothing
        self.phase = phase
        self.fit = fit
        self.frame_id = frame_id
        self.part = part
        """Under which name its time is summed."""
        self.stepped = False
        """Whether its first step began."""
        self.thread = threading.get_ident()
        self.beside = False
        """Whether a loop of another thread ran beside it."""
        self._backend = _other_backend(owner)
        self.params: dict[str, Any] = dict(getattr(owner, "params", None) or {})
        self.eager = input_wait.eager()
        self.windows = windows.Windows(phase, "fit", fit)
        self.epoch: Optional[int] = None
        self._first_epoch: Optional[int] = None
        self._plan: Optional[int] = None
        """Steps that this epoch was to have."""
        self._shortest = math.inf
        """The wall time of the shortest execution so far, in seconds."""
        self._jit = getattr(owner.model, "jit_compile", None) is True
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
        self._waited, self._batches, self._results = self._read()
        self.readings: deque[tuple[list[Any], float, int, float]] = deque()
        """Notes of executions that are not summed yet, and what `_read()` gave after the last of them."""
        self.lock = threading.RLock()
        """Held while they are summed."""
        self.hooks = callback_times.install(owner.callbacks, phase, self.windows.callbacks)
        self.epoch_hooks: dict[str, float] = {}
        if phase == "train":
            self.hooks += callback_times.install(owner.callbacks, "epoch", self.epoch_hooks)
        # A timed hook and its callback hold one another: they are parted with the list that calls them, at the latest.
        self.owner = weakref.ref(owner, functools.partial(callback_times.gone, self.hooks))
        self.spe = _steps_per_execution(owner.model)
        self._replicas = _replicas(owner.model)
        # What is asked for at an exact step is looked at after each step.
        self._each = phase == "train" and stop_after() is not None
        self.stamps = Stamps(owner, phase, self._before_execution, self._after_execution)
        self.stamps.wanted.add("first")

    def _bound(self) -> Optional[str]:
        if self.blocked():
            return self.blocked()
        if self.spe > 1 and input_wait.overlaps():
            return "steps_per_execution > 1: TensorFlow fetches the next batch while it computes"
        if self.beside:
            return "several threads train at once: the wait is that of all of them"
        if self._replicas > 1:
            return f"{self._replicas} replicas: they compete for the cores while the next batch is fetched"
        return None

    def blocked(self) -> Optional[str]:
        """Why no stopwatch may be put into this loop's graphs; None where it may."""
        if self._backend is not None:
            return f"Keras computes with {self._backend}, not with TensorFlow"
        if self.spe > 1 and self._replicas > 1:
            return "several replicas with steps_per_execution > 1: the wait is not measured there"
        return None

    # -- the executions

    @guarded(HOOK)
    def _before_execution(self) -> None:
        """Before an execution after which we look: before all others nothing is done."""
        if self.stamps.wanted == _DUE:
            return
        if not self.stepped:
            self.stepped = True
            if self.phase == "train":
                set_phase("training", self.part)
        with self.lock:
            if self.last_exit is None:
                self.last_exit = _counter()
                self._waited, self._batches, self._results = self._read()
            self.windows.step_begins()

    @guarded(HOOK)
    def _after_execution(self, logs: Any) -> None:
        start = _counter()
        only_due = self.stamps.wanted == _DUE
        self.stamps.wanted.clear()
        self.logs = windows.numbers(logs)
        executions = self._hand_over()
        if not only_due:
            self.sum()
            if self._each or self.windows.warming_up:
                self.stamps.wanted.add("next")
            before = looks_s()
            execution_done(self.model(), self.phase, windows.total(self.phase))
            start += looks_s() - before
        if self.phase == "train" and stopping.wanted():
            model = self.model()
            if model is not None:
                model.stop_training = True
        agent_cost.note(_counter() - start, executions)

    def _read(self) -> tuple[float, int, float]:
        """What this thread waited for so far, how many batches came in graphs, and what it waited for results of a
        device outside of the train function."""
        seconds, batches = input_wait.in_graphs()
        return seconds + self.eager.seconds, batches, device_wait.waited(self.thread)

    def fold(self) -> None:
        """Sum the executions that were noted so far. In the training's thread."""
        self._hand_over()
        self.sum()

    def _hand_over(self) -> int:
        """Read the clocks for the executions that were noted since the last time; returns how many."""
        spans = self.stamps.take()
        if spans:
            self.readings.append((spans, *self._read()))
        return len(spans) // NOTE

    def sum(self) -> None:
        """Sum the executions that were handed over. In any thread."""
        with self.lock:
            while self.readings:
                self._sum(*self.readings[0])
                self.readings.popleft()

    def _sum(self, spans: list[Any], waited: float, taken: int, results: float) -> None:
        began, ended, left, batches = (spans[place::NOTE] for place in range(NOTE))
        wait = waited - self._waited if input_wait.known() else None
        counts = self._counts(batches, taken - self._batches) if self.spe > 1 else None
        before = self._results
        self._waited, self._batches, self._results = waited, taken, results
        since = began[0] if self.last_exit is None else self.last_exit
        walls = list(map(sub, left, [since, *left]))
        # Where the begin was not seen (0.0), it is not known how long the function took.
        seen = ended if all(began) else [end for begin, end in zip(began, ended) if begin]
        # A result that was waited for is in the step that it came in by its read, to which a look may come too late: a
        # part of a step is never longer than the step.
        function = min(sum(seen) - sum(map(abs, began)) + results - before, sum(walls))
        self.windows.wait_bound = self._bound()
        if self._compiled_last(walls, batches):
            taken_s = min(ended[-1] - abs(began[-1]), function)
            if len(walls) > 1:
                self.windows.add_run(walls[:-1], function - taken_s, wait, left[-2], counts and counts[:-1])
            self.windows.add_run(
                walls[-1:], taken_s, None if wait is None else 0.0, left[-1], counts and counts[-1:], compiled=True
            )
        else:
            self.windows.add_run(walls, function, wait, left[-1], counts)
        self._shortest = min(self._shortest, *walls)
        if not self.epoch_steps and len(walls) == 1:  # after the first execution of an epoch we always look
            self._first_wait = None if wait is None else max(wait, 0.0)
        self.epoch_steps += len(walls) if counts is None else sum(counts)
        self.last_exit = self.last_step = left[-1]

    def _compiled_last(self, walls: list[float], batches: list[Any]) -> bool:
        """Whether XLA compiled the step again for the smaller batch that ends a fit's first epoch. It tells nobody
        (on an H200: 4.2 s in a training of 2 ms a step), so it is known by the batch's place and by its time."""
        planned = self.params.get("steps")
        last = isinstance(planned, int) and bool(batches) and batches[-1] == planned - 1
        if not (last and self._jit and self._first_epoch == self.epoch):
            return False
        return walls[-1] >= max(COMPILE_S, COMPILE_TIMES * min(self._shortest, *walls))

    def _counts(self, batches: list[Any], taken: int) -> list[int]:
        """Steps of each execution with steps_per_execution > 1. The last one of an epoch may hold fewer, and Keras 3
        names the batch that it would have ended with: then what the graphs took says how many there were."""
        counts = []
        planned = self.params.get("steps")
        for batch in batches:
            last = batch if isinstance(batch, int) else self._last_batch + self.spe
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
        with self.lock:
            self.windows.emit(_counter())

    def unsummed(self) -> int:
        """How many executions are done and not summed yet. From any thread."""
        return self.stamps.executions() + sum(len(spans) // NOTE for spans, *_ in list(self.readings))

    def leave_out(self) -> None:
        """What was waited for up to now was not this loop's, but a validation's."""
        self._waited, self._batches, self._results = self._read()

    # -- edges

    def epoch_begins(self, epoch: Any) -> None:
        now = _counter()
        self.epoch = self.windows.epoch = int(epoch) + 1
        self._first_epoch = self.epoch if self._first_epoch is None else self._first_epoch
        self.epoch_started = now
        self.epoch_steps = 0
        self.validation_s = 0.0
        self.last_exit = None
        self._last_batch = -1
        self._first_wait = None
        self.stamps.wanted.add("epoch")
        self.epoch_hooks.clear()
        edge = None if self.last_step is None else now - self.last_step
        self._plan = self._planned()
        plan = {"epochs": self.params.get("epochs"), "steps": self._plan}
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
            metrics=windows.describe(logs),
            planned=self._plan,
            stopped=bool(getattr(self.model(), "stop_training", False)),
        )
        self.last_exit = None

    def ended(self) -> None:
        self.emit()
        self.stamps.remove()
        callback_times.remove(self.hooks)
        self.hooks.clear()
        self.logs = None
        stopped = stopping.wanted() if self.phase == "train" else None
        send("train_end", fit=self.fit, phase=self.phase, stopped=stopped)
        hurry()


def _nothing() -> None:
    """In place of a reference to a model, where there is none."""


def _other_backend(owner: Any) -> Optional[str]:
    """The backend of Keras 3 where it is not TensorFlow (`backend()` in keras/src/backend/config.py, 3.3 to 3.15)."""
    config = sys.modules.get("keras.src.backend.config")
    if config is None or not type(owner).__module__.startswith("keras.src."):
        return None
    name = str(config.backend())
    return None if name == "tensorflow" else name


def _steps_per_execution(model: Any) -> int:
    # Keras 3: an int; Keras 2: a variable, under a strategy one of several replicas.
    value: Any = getattr(model, "steps_per_execution", None)
    if hasattr(value, "read_value"):
        value = value.read_value().numpy()
    return int(value or 1)


def _replicas(model: Any) -> int:
    strategy = getattr(model, "distribute_strategy", None)
    return int(getattr(strategy, "num_replicas_in_sync", 1))
