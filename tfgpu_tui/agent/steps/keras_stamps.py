"""The two hooks that run at every step of Keras' own loops. They note times, and nothing else.

Between two executions the processor's caches hold TensorFlow's data, not ours: each object that is touched there costs
ten times what a benchmark in a loop shows, and Keras 3 has just woken its callback thread, which wants the interpreter.
So the hooks are closures over a few lists, put on the one CallbackList that runs, and the sums are made later,
some hundred steps at once (`keras_sums.Loop.sum`).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import fast

NOTE = 4
"""Numbers of a note, see `Stamps.spans`."""
_counter = time.perf_counter


def _hook(owner: Any, name: str) -> Callable[..., Any]:
    """A hook of the owner's as `function(owner, batch, logs)`. A bound method on the owner itself would keep it."""
    own = vars(owner).get(name)
    function: Callable[..., Any] = getattr(type(owner), name)
    return function if own is None else lambda _, *args: own(*args)


class Stamps:
    """The times of one loop, from its CallbackList's batch hooks (Keras 2.15 to 3.15: `on_train_batch_begin`, …)."""

    def __init__(self, owner: Any, phase: str, before: Callable[[], None], after: Callable[[Any], None]) -> None:
        """`before()` and `after(logs)` run around an execution while `wanted` is not empty. They must not raise."""
        self.spans: deque[Any] = deque(maxlen=fast.MAX_NOTED // NOTE * NOTE)
        """Flat, for each execution: the function's begin (0.0 where it was not seen) and end, the end of the callbacks
        after it, and the batch's number."""
        self.wanted: set[str] = set()
        self.function = [0.0]
        """When the train function that runs now was entered: 0.0 outside of it, negative once it may have been left by
        an exception."""
        self.thread = threading.get_ident()
        self._owner = weakref.ref(owner)  # a fit that an exception ended must not keep its model
        self._names = f"on_{phase}_batch_begin", f"on_{phase}_batch_end"
        self._outer = fast.fits.get(self.thread)
        self._put(owner, before, after)

    def _put(self, owner: Any, before: Callable[[], None], after: Callable[[Any], None]) -> None:
        begin, end = (_hook(owner, name) for name in self._names)
        reference = self._owner
        counter, wanted, function, note = _counter, self.wanted, self.function, self.spans.extend

        def on_batch_begin(batch: Any, logs: Any = None) -> Any:
            if wanted:
                before()
            result = begin(reference(), batch, logs)
            function[0] = counter()
            return result

        def on_batch_end(batch: Any, logs: Any = None) -> Any:
            ended = counter()
            began = function[0]
            function[0] = 0.0
            try:
                result = end(reference(), batch, logs)
            except BaseException:  # the step itself is done, and its wait is in the sums
                note((began, ended, counter(), batch))
                raise
            note((began, ended, counter(), batch))
            if wanted:
                after(logs)
            return result

        for name, hook in zip(self._names, (on_batch_begin, on_batch_end)):
            vars(hook)["own"] = vars(owner).get(name)
            setattr(owner, name, hook)
        fast.fits[self.thread] = function

    def remove(self) -> None:
        """Put the owner's hooks back."""
        owner = self._owner()
        if owner is not None:
            for name in self._names:
                own = getattr(vars(owner).pop(name, None), "own", None)
                if own is not None:
                    setattr(owner, name, own)
        if self._outer is None:
            fast.fits.pop(self.thread, None)
        else:
            fast.fits[self.thread] = self._outer

    def executions(self) -> int:
        """How many are noted. From any thread."""
        return len(self.spans) // NOTE

    def take(self) -> list[Any]:
        """What was noted since the last time."""
        spans = list(self.spans)
        self.spans.clear()
        return spans
