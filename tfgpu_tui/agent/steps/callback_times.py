"""Which callback takes the time: each hook that a callback overrides is timed, for as long as its loop runs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from . import device_wait

HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
    "epoch": ("on_epoch_begin", "on_epoch_end"),
}
_counter = time.perf_counter


class TimedHook:
    """A callback's hook with its time added to a total. Pickles and copies as the hook itself."""

    def __init__(self, callback: Any, name: str, seconds: dict[str, float]) -> None:
        self.callback = callback
        self.name = name
        self.original: Callable[..., Any] = getattr(callback, name)
        self.was_own = name in vars(callback)
        self._seconds = seconds
        self._class = type(callback).__name__
        self._thread = threading.get_ident()
        functools.update_wrapper(self, self.original, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = _counter()
        results = device_wait.waited(self._thread)
        inside_before = self._seconds.get(self._class, 0.0)
        try:
            return self.original(*args, **kwargs)
        finally:
            # Keras 3.15 may run hooks in a thread of its own: that time is not the training's.
            if threading.get_ident() == self._thread:
                # One hook may call another of the same callback: count the outer one only. To wait for the device's
                # results is no work of the callback's.
                results = device_wait.waited(self._thread) - results
                self._seconds[self._class] = inside_before + _counter() - start - results

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.callback, self.name)


def install(callbacks: list[Any], phase: str, seconds: dict[str, float]) -> list[TimedHook]:
    """Time the hooks of this phase (`train`, `test`, `predict`, `epoch`) that these callbacks override."""
    hooks = []
    for callback in callbacks:
        for name in HOOKS[phase]:
            original = getattr(callback, name, None)
            # Keras marks the empty hooks of its base class so (keras.src.utils.python_utils.default).
            if original is None or getattr(original, "_is_default", False):
                continue
            if isinstance(original, TimedHook):  # left by a loop that an exception ended
                remove([original])
            hook = TimedHook(callback, name, seconds)
            try:
                setattr(callback, name, hook)
            except (AttributeError, TypeError):
                continue  # a callback with slots: its time stays part of the host's
            hooks.append(hook)
    return hooks


def gone(hooks: list[TimedHook], reference: Any) -> None:
    """For a weak reference to what calls the hooks: it is gone. In any thread, within any statement."""
    try:
        remove(hooks)
        hooks.clear()
    except Exception:
        pass  # there may be no interpreter left to say it to


def remove(hooks: list[TimedHook]) -> None:
    """Put the callbacks' own hooks back."""
    for hook in hooks:
        if vars(hook.callback).get(hook.name) is not hook:
            continue
        if hook.was_own:
            setattr(hook.callback, hook.name, hook.original)
        else:
            delattr(hook.callback, hook.name)
