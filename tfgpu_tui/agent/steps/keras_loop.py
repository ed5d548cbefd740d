"""Keras' own loops (fit, evaluate, predict) from the boundaries that they all share: their CallbackList.

    begin.entry  begin.exit        end.entry   end.exit
        | callbacks |  train_function  | callbacks |  other host work until the next begin.entry

The train function holds the wait for the batch, in Keras 2 and 3 alike. A step's wall time runs from end.exit to
end.exit; the first one of an epoch starts at its begin.entry. The patches are in `keras_hooks`, the notes of each step
in `keras_stamps`, their sums in `keras_sums`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from types import FrameType
from typing import Any, Optional

from ..hooks.runtime import before_trace, every, guarded, is_off, send, set_phase
from . import callback_times, clock, windows
from .keras_sums import HOOK, Loop

PHASES = {"train": "training", "test": "evaluating", "predict": "predicting"}
LOOK_AFTER_S = 1.0
"""How long a train function may run before we look whether its fit is still on the stack."""
LOOK_EVERY_S = 0.25
SUM_EVERY_S = 0.1
_counter = time.perf_counter

fits: set[int] = set()
"""Threads that are in a call of fit; `fit_calls` knows."""
_running: list[Loop] = []
"""Loops that run now, in any thread, outermost first: a validation lies inside of its fit."""


def running() -> list[Loop]:
    """The loops that run now, outermost first. From any thread."""
    return list(_running)


def _innermost() -> Optional[Loop]:
    """The loop that this thread is in."""
    thread = threading.get_ident()
    return next((loop for loop in reversed(_running) if loop.thread == thread), None)


def active() -> bool:
    """Whether one of Keras' own loops runs in this thread now: others keep out of its time."""
    loop = _innermost() if _running else None
    if loop is None:
        return False
    if loop.stamps.function[0] > 0.0:
        return True
    # A fit that an exception ended never says so: look for its frame.
    _drop_dead()
    return _innermost() is not None


def _frames() -> set[int]:
    frame: Optional[FrameType] = sys._getframe(1)
    found = set()
    while frame is not None:
        found.add(id(frame))
        frame = frame.f_back
    return found


def _called_by_callback(outer: Loop) -> bool:
    """Whether a callback of this loop started the one that ends now: its time is in the callback's already."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and id(frame) != outer.frame_id:
        if frame.f_code is callback_times.TimedHook.__call__.__code__:
            return True
        frame = frame.f_back
    return False


def _drop_dead() -> None:
    """Forget the loops of this thread whose own frame is no longer on the stack."""
    alive = _frames()
    while (loop := _innermost()) is not None and (loop.frame_id not in alive or loop.owner() is None):
        _running.remove(loop)
        loop.ended()


@guarded(HOOK)
def left() -> None:
    """A call of fit, evaluate or predict is over in this thread: where an exception ended it, nothing else says so, and
    the identity of its frame is soon another frame's."""
    if _running:
        _drop_dead()


def runs_in(frame: FrameType) -> bool:
    """Whether this call of fit, evaluate or predict is in its loop already."""
    return any(loop.frame_id == id(frame) for loop in _running)


@guarded(HOOK)
def settle() -> None:
    """Send what was summed of the loops that run, or that an exception ended."""
    _drop_dead()
    for loop in list(_running):
        loop.emit()


# An exception that ends the script in the middle of a fit takes no step away that was done.
atexit.register(settle)


def _drop_threads() -> None:
    """Forget the loops of threads that are gone: what an exception ended there never says so."""
    # Not the frames themselves: this one is among them, and a frame that holds itself holds what its callers worked on.
    threads = set(sys._current_frames())
    for loop in [loop for loop in _running if loop.thread not in threads]:
        _running.remove(loop)
        loop.ended()


@guarded(HOOK)
def begin(owner: Any, phase: str, frame_id: int) -> None:
    _drop_threads()
    _drop_dead()
    # A validation carries the number of its fit, an evaluation on its own that of the last one.
    fit = windows.new_loop() if phase == "train" else windows.current_loop()
    outer = _innermost()
    if outer is not None:
        outer.emit()
    loop = Loop(owner, phase, fit, frame_id, _part(phase, outer))
    _running.append(loop)
    apart = [other for other in _running if other.thread != loop.thread]
    for one in [loop, *apart] if apart else ():
        one.beside = True
    _goes_on(loop)


def _part(phase: str, outer: Optional[Loop]) -> str:
    """Under which name a loop's time is summed."""
    if outer is not None and outer.phase == "train":
        return "callbacks" if _called_by_callback(outer) else "validation"
    return "fit" if phase == "train" else PHASES[phase]


def _goes_on(loop: Loop) -> None:
    clock.blocked = loop.blocked()
    if loop.phase == "train" and not loop.stepped:
        set_phase("preparing")
    else:
        set_phase(PHASES[loop.phase], loop.part)


@guarded(HOOK)
def end(owner: Any, phase: str) -> None:
    loop = current(owner, phase)
    if loop is None:
        return
    stack = [other for other in _running if other.thread == loop.thread]
    place = stack.index(loop)
    for inner in stack[place:]:
        _running.remove(inner)
    loop.ended()
    outer = stack[place - 1] if place else None
    if outer is not None:
        if not _called_by_callback(outer):
            outer.validation_s += _counter() - loop.started
        outer.leave_out()
        outer.stamps.wanted.add("after validation")
        _goes_on(outer)
    elif _running:  # another thread's
        _goes_on(_running[-1])
    else:
        clock.blocked = None
        set_phase("idle", "ending" if phase == "train" and loop.thread in fits else "")


def current(owner: Any, phase: str) -> Optional[Loop]:
    """The running loop of this CallbackList and phase; the innermost one in nearly every call."""
    for loop in reversed(_running):
        if loop.phase == phase and loop.owner() is owner:
            return loop
    return None


def noted(phase: str) -> int:
    """Steps that are done but not summed yet, and so not in `windows.total`. From any thread."""
    return sum(loop.unsummed() * loop.spe for loop in list(_running) if loop.phase == phase)


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


@every(SUM_EVERY_S)
@guarded(HOOK)
def _sum_up() -> None:
    """Off the training's thread, which most of the time is inside of TensorFlow and needs no Python."""
    for loop in list(_running):
        if loop.readings:
            loop.sum()


def _forked() -> None:
    """In a forked child: whoever held a lock is not there."""
    for loop in _running:
        loop.lock = threading.RLock()


os.register_at_fork(after_in_child=_forked)


@every(1.0)
def _tell_metrics() -> None:
    """Off the training's thread: turning a metric to a number may have to wait for the device."""
    for loop in list(_running):
        step, logs = windows.total(loop.phase), loop.logs
        if logs and loop.phase == "train" and step != loop.told_step:
            loop.told_step, loop.logs = step, None
            send("metrics", step=step, epoch=loop.epoch, phase=loop.phase, values=windows.describe(logs))
