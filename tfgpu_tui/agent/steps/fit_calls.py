"""How long the calls of `fit`, `predict` and `evaluate` took as a whole: the price of starting each is a part of it.

Private APIs: the argument `_use_cached_eval_dataset`, with which `fit` calls `evaluate` for its validation, in
`keras.src.backend.tensorflow.trainer` (Keras 3.3 to 3.15), `keras.src.engine.training` (Keras 2.15),
`tf_keras.src.engine.training` (2.21).
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from types import FrameType
from typing import Any, Dict, List, Optional, Tuple

from ..hooks.errors import users_place
from ..hooks.keras_models import with_fit
from ..hooks.runtime import guarded, part, send_latest, set_aside, set_phase, traces
from . import keras_loop, windows

HOOK = "fit_calls"
STEPS_OF = {"predict": "predict", "evaluate": "test"}
"""Method -> the phase of its steps."""
BY_FIT = "_use_cached_eval_dataset"
MAX_PLACES = 64
TOLD_PLACES = 3
_counter = time.perf_counter

Place = Tuple[str, int, str]
"""File, line, function."""


class _Running(threading.local):
    """What runs in this thread: calls within calls. The sums below are of all threads; no lock guards them, for a fork
    could leave it held for ever, and a lost call in a thousand changes no verdict."""

    fits = 0
    others = 0


class _Fits:
    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0


class _Calls:
    """All calls of one method, within a fit or outside."""

    def __init__(self) -> None:
        self.count = self.batches = 0
        self.seconds = self.batches_s = 0.0
        self.places: Dict[Place, List[float]] = {}
        """Place -> [calls, seconds]."""


_running = _Running()
_fits = _Fits()
_calls: Dict[Tuple[str, bool], _Calls] = {}


@guarded(HOOK)
def _fit_called() -> None:
    if not keras_loop.active():
        keras_loop.fits.add(threading.get_ident())
        set_phase("preparing")


@guarded(HOOK)
def _fit_returned(seconds: float) -> None:
    keras_loop.fits.discard(threading.get_ident())
    if part() in ("preparing", "ending"):  # the first where it failed before its first step
        set_phase("idle")
    _fits.count += 1
    _fits.seconds += seconds
    send_latest("fit_calls", count=_fits.count, wall_s=_fits.seconds)


def _noted(method: str) -> Tuple[float, int, float]:
    phase = STEPS_OF[method]
    return _counter(), windows.total(phase), windows.wall_s(phase)


@guarded(HOOK)
def _returned(method: str, start: Tuple[float, int, float], frame: Optional[FrameType]) -> None:
    seconds, batches, batches_s = (now - then for now, then in zip(_noted(method), start))
    key = method, _running.fits > 0
    place = _place(frame)
    calls = _calls.setdefault(key, _Calls())
    calls.count += 1
    calls.seconds += seconds
    calls.batches += int(batches)
    calls.batches_s += min(batches_s, seconds)
    if place is not None and (place in calls.places or len(calls.places) < MAX_PLACES):
        at = calls.places.setdefault(place, [0, 0.0])
        at[0] += 1
        at[1] += seconds
    told = sorted(calls.places.items(), key=lambda item: -item[1][1])[:TOLD_PLACES]
    send_latest(
        "predict_calls",
        key,
        method=method,
        in_fit=key[1],
        count=calls.count,
        wall_s=calls.seconds,
        batches=calls.batches,
        batches_s=calls.batches_s,
        places=[
            {"file": file, "line": line, "function": function, "count": count, "wall_s": wall}
            for (file, line, function), (count, wall) in told
        ],
    )


def _place(frame: Optional[FrameType]) -> Optional[Place]:
    """The innermost line of the script's own, from this frame outwards."""
    return users_place(frame)


@with_fit
def _patch(cls: Any) -> None:
    original = cls.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        _running.fits += 1
        start = _counter()
        _fit_called()
        try:
            return original(self, *args, **kwargs)
        finally:
            _running.fits -= 1
            keras_loop.left()
            if not _running.fits:  # a fit within a callback of another one is part of that
                _fit_returned(_counter() - start)

    cls.fit = fit


@with_fit
def _patch_others(cls: Any) -> None:
    for method in STEPS_OF:
        setattr(cls, method, _timed(method, getattr(cls, method)))


def _timed(method: str, original: Any) -> Any:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _running.others or BY_FIT in kwargs:
            return original(self, *args, **kwargs)
        _running.others += 1
        start, before = _noted(method), traces()
        try:
            return original(self, *args, **kwargs)
        finally:
            _running.others -= 1
            keras_loop.left()
            if not _running.fits and (method, False) in _calls:
                # Each call traces the map functions of its own input. A step of the script's around it is none the less
                # like the others; only the first call traces the model, too.
                set_aside(traces() - before)
            _returned(method, start, sys._getframe(1))

    return call
