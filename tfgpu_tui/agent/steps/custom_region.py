"""The outermost function that runs now in a loop of the user's own: what it waited, whether it trains, how far it is.

A function that loops over a data set by itself runs for an epoch. The batches that its graph took tell how many steps
it did so far, so that a look from outside can count them while it runs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from ..hooks.marks import Marks
from . import input_wait

POLL_S = 0.25
BY_KERAS = "train_on_batch"

TRAINS = Marks()
"""Functions, models and fetches of a session -> True: seen to train while they were traced. See `hooks.marks`."""


class Part(NamedTuple):
    """What a function did up to now, or since it was looked at last."""

    start: float
    wait: float
    batches: int


class Region:
    """At most one at a time. Times in seconds."""

    def __init__(self) -> None:
        self.start: Optional[float] = None
        """None while none runs; else from where on it was not counted yet."""
        self.label = "custom"
        self.trained = False
        """Set by whoever sees a gradient being traced meanwhile, in any thread."""
        self.waits: list[tuple[float, int]] = []
        """The graphs' waits at `start`."""
        self._key: Callable[[], Any] = _nothing
        self._looked_at = False

    def begins(self, key: Any, start: float, label: str) -> None:
        """`key` is the same object at each call; `label` is `custom` or `train_on_batch`."""
        self.start, self.label = start, label
        self.trained = label == BY_KERAS
        self.waits = input_wait.by_site()
        self._key = weakref.ref(key)
        self._looked_at = False

    def ends(self, key: Any, end: float) -> tuple[Part, bool]:
        """What it did since `start`, and whether it trained in that time."""
        assert self.start is not None
        seconds, batches = input_wait.since(self.waits, input_wait.by_site())
        # Keras 2 wraps the one batch that it was given in an iterator of its own: taking that back is no wait.
        wait = 0.0 if self.label == BY_KERAS else min(seconds, end - self.start)
        part = Part(self.start, wait, batches)
        self.start = None
        # All batches of a loop inside of the function may have been told while it ran.
        return part, self._trains(key) and not (self._looked_at and batches == 0)

    def look(self, now: float) -> Optional[tuple[Any, Part]]:
        """From outside, while it runs: the function and what it did since `start`, which is `now` from here on. None
        where that is no training, or too little to tell."""
        key, start = self._key(), self.start
        if start is None or now - start < POLL_S or key is None or not (self.trained or TRAINS.get(key)):
            return None
        waits = input_wait.by_site()
        seconds, batches = input_wait.since(self.waits, waits)
        if batches < 2:
            return None
        self.start, self.waits, self._looked_at = now, waits, True
        return key, Part(start, min(seconds, now - start), batches)

    def _trains(self, key: Any) -> bool:
        """Whether this function trains: seen while it was traced, and remembered."""
        if TRAINS.get(key):
            return True
        if self.trained:
            TRAINS.put(key, True)  # what can't be held is asked again at its next trace
        return self.trained


def _nothing() -> None:
    """In place of a reference to a function, where there is none."""
