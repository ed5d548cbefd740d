"""The fast lane of a loop of the user's own: once its steps repeat, each call only notes its times.

    next(iterator) -> function(s) -> next(iterator) -> function(s) -> ...

`custom_steps` understands every kind of loop, at some ten microseconds a call. A loop that did the same calls in the
same order for a while gets a lane: closures over a few lists (see `keras_stamps` for why) that note which of its calls
ran from when to when. The sums are made later, many steps at once. Whatever is not one of its calls closes
the lane, and what it still holds goes through `custom_steps`.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from . import fast, input_wait

NOTE = 3
"""Numbers of a note: which call (its place in the step), its begin, its end."""
_counter = time.perf_counter


class Lane:
    """The calls of one step, over and over."""

    def __init__(self, calls: list[Any], takes: list[bool], times: list[float], look: Callable[[Lane], None]) -> None:
        """`calls`: what is called in a step, in order; `takes`: whether it is an iterator asked for a batch, else a
        function; `times`: begin and end of each in the step before, which is still open to what may follow.
        `look(lane)` runs between two calls of the training's thread while `wanted` is not empty; it must not raise."""
        self.calls = [weakref.ref(call) for call in calls]
        self.takes = takes
        self.order = list(range(len(calls)))
        self.notes: deque[Any] = deque(maxlen=fast.MAX_NOTED // (NOTE * len(calls)) * NOTE * len(calls))
        for index in self.order:
            self.notes.extend((index, *times[2 * index : 2 * index + 2]))
        self.readings: deque[tuple[list[Any], Any]] = deque()
        """Notes that were handed over and not looked at yet, each with the reading of the clocks after it."""
        self.handed: list[Any] = []
        """Notes that are not summed yet."""
        self.last = times[-1]
        """End of the last call that was handed over."""
        self.wanted: set[str] = set()
        self.closed = False
        self.thread = get_ident()
        self._look = look
        for index, call in enumerate(calls):
            if takes[index]:
                vars(call)["_next_internal"] = self._next(index, call)
        note, look_now = self.notes.extend, functools.partial(look, self)
        self._noted = {
            id(call): (self.calls[index], index, note, self.wanted, look_now)
            for index, call in enumerate(calls)
            if not takes[index]
        }.get
        fast.lanes[self.thread] = self._noted

    def _next(self, index: int, iterator: Any) -> Callable[[], Any]:
        """For the place of `OwnedIterator._next_internal` on the one object (TensorFlow 2.15 to 2.21)."""
        counter, note, wanted, late = _counter, self.notes.extend, self.wanted, self._late
        original = type(iterator)._next_internal
        original = getattr(original, "__wrapped__", original)
        reference = weakref.ref(iterator)  # an iterator must go when the loop lets go of it

        def next_internal() -> Any:
            start = counter()
            try:
                batch = original(reference())
            except Exception as error:
                input_wait.failed(reference(), error)
                raise
            note((index, start, counter()))
            if wanted:
                late()
            return batch

        return next_internal

    def _late(self) -> None:
        if self.closed:  # while this call for a batch was under way
            self._look(self)

    def leave_iterators(self) -> None:
        """The class' own method again, which knows what to do while a function is traced."""
        for index, takes in enumerate(self.takes):
            iterator = self.calls[index]() if takes else None
            if iterator is not None:
                vars(iterator).pop("_next_internal", None)

    def close(self) -> None:
        """No call takes this lane any more; one that is under way says so through `look()`."""
        self.closed = True
        self.wanted.add("closed")
        self.leave_iterators()
        if fast.lanes.get(self.thread) is self._noted:
            del fast.lanes[self.thread]

    def hand_over(self, reading: Any) -> int:
        """Put what was noted since the last time, with a reading of the clocks, where it waits to be summed. Returns
        how many steps that is, about."""
        notes = list(self.notes)
        self.notes.clear()
        if notes:
            self.last = notes[-1]
            self.readings.append((notes, reading))
        return len(notes) // (NOTE * len(self.order))

    def take(self, notes: int) -> list[Any]:
        """Removes so many notes from those that were handed over."""
        taken = self.handed[: notes * NOTE]
        del self.handed[: notes * NOTE]
        return taken

    def steps(self) -> int:
        """Whole steps at the front of what was handed over, less the last one, which is open to what may follow."""
        places = self.handed[::NOTE]
        size = len(self.order)
        whole = len(places) // size
        if places[: whole * size] != self.order * whole:
            whole = next(i for i in range(whole) if places[i * size : (i + 1) * size] != self.order)
        return max(0, whole - 1)

    def mixed(self) -> bool:
        """Whether the calls no longer come in the order of the step that opened the lane."""
        places = self.handed[::NOTE]
        return any(place != index % len(self.order) for index, place in enumerate(places))
