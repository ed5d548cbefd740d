"""A pass over an iterator, or over several that are taken together: training, a test, or not known yet. No TensorFlow.

An iterator that was not in use before, and whose batches are not mixed with those of the others, begins a new pass: an
epoch, a validation. A pass trains once something trained on its batches. It is a test (or a prediction) when a
function or a model was called with some batches and nothing trained; until then its batches are tentative, for
gradients may be accumulating.
"""

from __future__ import annotations

import weakref
from typing import Any, List, NamedTuple, Optional, Set

TENTATIVE_BATCHES = 4
"""Batches of a pass without a gradient after which the pass counts as a test."""


class Batch(NamedTuple):
    """A batch that nothing trained on: seconds."""

    wall: float
    wait: float
    busy: float
    seen: bool
    """Whether a function or a model was called with it. Else plain eager code used it, or nobody did."""


class Pass:
    """One pass: its iterators, what it is, and what became of the batch in hand."""

    def __init__(self) -> None:
        self.phase: Optional[str] = None
        """`train`, `test` or `predict`; None while that is not known."""
        self.tentative: List[Batch] = []
        self.called = False
        """Whether something was called that may have used the batch in hand."""
        self.forward: Optional[float] = None
        """When a model was called eagerly with it first."""
        self._iterators: List[weakref.ref[Any]] = []
        self._in_hand: Set[int] = set()

    def has(self, iterator: Any) -> bool:
        """Whether this iterator is one of the pass."""
        if self._iterators and self._iterators[0]() is iterator:  # nearly always
            return True
        return any(ref() is iterator for ref in self._iterators)

    def add(self, iterator: Any) -> None:
        """Its batches are mixed with those of the others."""
        self._iterators = [*(ref for ref in self._iterators if ref() is not None), weakref.ref(iterator)]

    @property
    def in_hand(self) -> bool:
        """Whether a batch arrived, and nothing that we see was called since."""
        return bool(self._in_hand)

    def arrived(self, iterator: Any) -> None:
        """It gave a batch."""
        self._in_hand.add(id(iterator))

    def used(self) -> None:
        """Something was called that may have used what is in hand."""
        self.called = True
        self._in_hand.clear()

    def model_called(self, now: float) -> None:
        """A model was called, eagerly: from here on the time of a batch that nothing trains on is compute."""
        if self.forward is None:
            self.forward = now
        self.used()

    def asked(self, iterator: Any) -> bool:
        """The next batch is asked for: whether the one before is done with. It is not, where another iterator gives the
        second half of it."""
        unseen = id(iterator) in self._in_hand
        if unseen:
            self._in_hand.clear()
        return (self.called or unseen) and not self._in_hand

    def next_step(self) -> None:
        """Another batch, or another step with the same one."""
        self.called, self.forward = False, None

    def untrained(self, wall: float, wait: float, busy: float, now: float) -> None:
        """Nothing trained on the batch in hand; the next one is asked for now."""
        if self.forward is not None:
            busy = max(busy, now - self.forward)
        self.tentative.append(Batch(wall, wait, min(busy, wall - wait), self.called))
        self.next_step()

    def tested(self) -> List[Batch]:
        """Batches that are those of a test by now, to be counted: each is handed out once."""
        if self.phase is None and len(self.tentative) < TENTATIVE_BATCHES:
            return []
        seen = [batch for batch in self.tentative if batch.seen]
        self.tentative.clear()
        return seen
