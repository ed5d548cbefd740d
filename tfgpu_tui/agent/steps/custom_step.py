"""The step in progress of a loop of the user's own: from what happened, and when, to steps that ended. No TensorFlow.

    next() ... next() | function(s), or eager code up to the optimizer | ... | next() ...
      input wait      |                 compute                        | host

A step ends with the last thing that trained before the next batch is asked for, or before the same function or
optimizer trains again. Time goes from end to end: what comes after the end of one step belongs to the next, so that no
time is lost or counted twice. `TRANSITIONS` says for each thing that may happen what becomes of the step.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Callable, Dict, NamedTuple, Optional, Set, Tuple


class State(Enum):
    """What the step in progress is."""

    NOTHING = "nothing"
    """No time runs: before the first batch of a loop, and once its thread is gone."""
    OPEN = "open"
    """Time runs, and nothing trained yet."""
    TRAINED = "trained"
    """Something trained: the step ends with it, unless more of the same step trains."""


class What(Enum):
    """What happened."""

    NEXT_ASKED = "the next batch is asked for"
    BATCH_ARRIVED = "a batch arrived"
    FUNCTION_BEGINS = "a function begins"
    SAME_FUNCTION_BEGINS = "a function that trained in this step begins again"
    FUNCTION_ENDED = "a function ended that did not train"
    FUNCTION_TRAINED = "a function ended that trained, or told of some of its own steps"
    TAPE_BEGINS = "a gradient tape begins to record eagerly"
    GRADIENT_TAKEN = "a gradient was taken eagerly"
    OPTIMIZER_APPLIED = "an optimizer was applied eagerly"
    SAME_OPTIMIZER_APPLIED = "an optimizer was applied that was applied in this step already"
    RESULT_READ = "a result was waited for"
    NOT_TRAINED = "a batch turned out to be used for no training"
    NEW_PASS = "batches of a new iterator are asked for"
    STALE = "nothing happened for a while"
    LOOP_SEEN = "the function that runs took several batches: it has a loop of its own"
    THREAD_GONE = "the thread ended, or the process does"


class Counts(Enum):
    """Which part of what came so far is counted as a step."""

    NONE = "none"
    TO_END = "up to the end of the last thing that trained"
    TO_KEYED = "up to the end of the last function or optimizer: what came since is the next step's own"


class Becomes(NamedTuple):
    """What is counted, and what the step is then."""

    counts: Counts
    state: State


_NOTHING, _OPEN, _TRAINED = State.NOTHING, State.OPEN, State.TRAINED
_STAYS = {state: Becomes(Counts.NONE, state) for state in State}
_COUNTED = Becomes(Counts.TO_END, _OPEN)


def _each(nothing: State, opened: State, trained: Becomes) -> Dict[State, Becomes]:
    return {_NOTHING: Becomes(Counts.NONE, nothing), _OPEN: Becomes(Counts.NONE, opened), _TRAINED: trained}


_TRAINS = _each(_TRAINED, _TRAINED, Becomes(Counts.NONE, _TRAINED))

TRANSITIONS: Dict[What, Dict[State, Becomes]] = {
    # What happened: in state      NOTHING   OPEN      TRAINED
    What.NEXT_ASKED: _each(_OPEN, _OPEN, _COUNTED),
    What.BATCH_ARRIVED: _each(_OPEN, _OPEN, Becomes(Counts.NONE, _TRAINED)),
    What.FUNCTION_BEGINS: _each(_OPEN, _OPEN, Becomes(Counts.NONE, _TRAINED)),
    What.SAME_FUNCTION_BEGINS: {_TRAINED: _COUNTED},
    What.FUNCTION_ENDED: _each(_OPEN, _OPEN, Becomes(Counts.NONE, _TRAINED)),
    What.FUNCTION_TRAINED: {_OPEN: _TRAINS[_OPEN], _TRAINED: _TRAINS[_TRAINED]},
    What.TAPE_BEGINS: _STAYS,
    What.GRADIENT_TAKEN: _TRAINS,
    What.OPTIMIZER_APPLIED: _TRAINS,
    What.SAME_OPTIMIZER_APPLIED: {_TRAINED: Becomes(Counts.TO_KEYED, _TRAINED)},
    What.RESULT_READ: _STAYS,
    What.NOT_TRAINED: {_OPEN: Becomes(Counts.NONE, _OPEN)},
    What.NEW_PASS: _each(_OPEN, _OPEN, _COUNTED),
    What.STALE: _each(_NOTHING, _OPEN, _COUNTED),
    What.LOOP_SEEN: _each(_NOTHING, _OPEN, _COUNTED),
    What.THREAD_GONE: _each(_NOTHING, _NOTHING, Becomes(Counts.TO_END, _NOTHING)),
}


class Done(NamedTuple):
    """A step that ended: seconds, and the rest of `wall` is the host's."""

    end: float
    wall: float
    wait: float
    compute: float
    steps: int
    """How many: those of a loop inside of one function come together."""
    label: str
    """`custom`, `eager` or `train_on_batch`."""


class _At(NamedTuple):
    """The sums of a step at a time."""

    time: float
    wait: float
    busy: float


class _Trained(NamedTuple):
    at: _At
    steps: int
    label: str


class Step:
    """The step that is being summed, from the end of the one before. Times in seconds, on one clock, in order."""

    def __init__(self, done: Callable[[Done], None]) -> None:
        """`done(step)` is called for each step that ended, while what came after its end is already in here."""
        self.state = _NOTHING
        self._done = done
        self._clear(None)

    def _clear(self, base: Optional[float]) -> None:
        self._base = base
        self._wait = self._busy = 0.0
        self._since = _At(base or 0.0, 0.0, 0.0)
        """From where on all is compute, should something train eagerly: what the script does before it records is its
        own Python's work."""
        self._recording = False
        """Whether that is where a gradient tape began."""
        self._forget_what_trained()

    def _forget_what_trained(self) -> None:
        self._trained: Optional[_Trained] = None
        self._keyed: Optional[_Trained] = None
        """The last thing that trained, and the last of these that is known again: a function, an optimizer."""
        self._tape: Optional[_At] = None
        """The first tape after that one."""
        self._keys: Set[int] = set()

    # -- what happened

    def next_asked(self, now: float) -> None:
        """The next batch is asked for: what trained with the one before is a step."""
        self._happens(What.NEXT_ASKED)
        self._begin(now)

    def batch_arrived(self, start: float, end: float, others: float = 0.0) -> None:
        """A batch that was asked for at `start`; for so long of that the other workers were waited for, as they are in
        the step itself."""
        self._happens(What.BATCH_ARRIVED)
        self._begin(start)
        self._wait += end - start - others
        self._busy += others
        self._since, self._recording = _At(end, self._wait, self._busy), False

    def function_begins(self, key: Any, now: float) -> None:
        """An outermost function (or `train_on_batch`); `key` is the same object at each of its calls."""
        self._happens(What.SAME_FUNCTION_BEGINS if id(key) in self._keys else What.FUNCTION_BEGINS)
        self._begin(now)

    def function_ended(self, start: float, end: float, wait: float) -> None:
        """It is over, after it waited for batches of its own for so long: all else of it is compute."""
        self._happens(What.FUNCTION_ENDED)
        self._begin(start)
        self._wait += wait
        self._busy += end - start - wait
        if not self._recording:
            self._since = _At(end, self._wait, self._busy)

    def function_trained(self, key: Any, end: float, count: int, label: str) -> None:
        """It trained, on so many batches: told after `function_ended`."""
        self._happens(What.FUNCTION_TRAINED)
        self._keys.add(id(key))
        self._trains(_At(end, self._wait, self._busy), count, label, keyed=True)

    def tape_begins(self, now: float) -> None:
        """The forward pass."""
        self._happens(What.TAPE_BEGINS)
        at = _At(now, self._wait, self._busy)
        if self._keyed is not None and self._tape is None:
            self._tape = at
        if not self._recording:
            self._since, self._recording = at, True

    def gradient_taken(self, now: float) -> None:
        """The end of the step where no optimizer follows; with one, that moves it."""
        self._happens(What.GRADIENT_TAKEN)
        self._eagerly(now, keyed=False)

    def optimizer_applied(self, key: Any, start: float, now: float) -> None:
        """An optimizer, from `start` on. Where it was applied in this step already, the step before ended with the
        last of these calls, and no new batch was asked for: what came since then is this one."""
        self._happens(What.SAME_OPTIMIZER_APPLIED if id(key) in self._keys else What.OPTIMIZER_APPLIED)
        self._begin(self._since.time if self._recording else start)
        self._keys.add(id(key))
        self._eagerly(now, keyed=True)

    def result_read(self, seconds: float) -> None:
        """The thread waited for results so long, outside of functions: that is the device's work."""
        self._happens(What.RESULT_READ)
        if self._base is not None:
            self._busy += seconds

    def not_trained(self, now: float) -> Tuple[float, float, float]:
        """Nothing will train on what came so far: returns its wall, wait and compute; the next step begins now."""
        assert self._base is not None
        self._happens(What.NOT_TRAINED)
        found = now - self._base, self._wait, self._busy
        self._clear(now)
        return found

    def belongs_too(self, wall: float, wait: float, busy: float) -> None:
        """What was set apart as `not_trained` just before this step is a part of it: gradients were accumulated."""
        assert self._base is not None and self.state is _OPEN
        self._base -= wall
        self._wait += wait
        self._busy += busy
        self._since = _At(self._since.time, self._since.wait + wait, self._since.busy + busy)

    def new_pass(self, now: float) -> None:
        """The time before the first batch of a new iterator belongs to no step."""
        self._happens(What.NEW_PASS)
        self._clear(now)

    def stale(self) -> None:
        """Nothing happened for a while."""
        self._happens(What.STALE)

    def loop_seen(self) -> None:
        """The function that runs, or just ended, has a loop of its own: what trained before it is no part of that."""
        self._happens(What.LOOP_SEEN)

    def part_told(self, key: Any, start: float, now: float, wait: float, count: int, label: str) -> None:
        """What a function that still runs did from `start` on: so many whole steps, whatever trained before it."""
        self.loop_seen()
        self.function_ended(start, now, wait)
        self.function_trained(key, now, count, label)
        self.loop_seen()

    def gone(self) -> None:
        """The thread ended, or the process does."""
        self._happens(What.THREAD_GONE)
        self._clear(None)

    # -- what becomes of it

    @property
    def base(self) -> Optional[float]:
        """Where the step began: with the end of the one before. None while no time runs."""
        return self._base

    @property
    def ended(self) -> Optional[float]:
        """The end of the last thing that trained in it; None where nothing did."""
        return None if self._trained is None else self._trained.at.time

    @property
    def count(self) -> int:
        """How many steps it is so far."""
        return 0 if self._trained is None else self._trained.steps

    def moved(self, base: float) -> None:
        """Steps up to there were counted elsewhere (`custom_repeats`): it begins there, with nothing in it."""
        self.state = _OPEN
        self._clear(base)

    def _happens(self, what: What) -> None:
        counts, self.state = TRANSITIONS[what][self.state]
        if counts is Counts.TO_END and self._trained is not None:
            self._count(self._trained)
        elif counts is Counts.TO_KEYED and self._keyed is not None:
            self._count(self._keyed)

    def _begin(self, now: float) -> None:
        if self._base is None:
            self._base = now
            if self._since.time < now:
                self._since = _At(now, self._wait, self._busy)

    def _eagerly(self, now: float, keyed: bool) -> None:
        """All since the tape began, but waits for batches, is compute."""
        self._begin(self._since.time if self._recording else now)
        since = self._since
        self._busy = since.busy + now - since.time - (self._wait - since.wait)
        by_functions = self._trained is not None and self._trained.label != "eager"
        label = self._trained.label if self._trained is not None and by_functions else "eager"
        self._trains(_At(now, self._wait, self._busy), 1, label, keyed)

    def _trains(self, at: _At, count: int, label: str, keyed: bool) -> None:
        self._trained = _Trained(at, max(self.count, count), label)
        if keyed:
            self._keyed, self._tape = self._trained, None

    def _count(self, trained: _Trained) -> None:
        """The step ends there; what came since is in the next one."""
        assert self._base is not None
        base, (end, wait, busy) = self._base, trained.at
        tape = self._tape if trained is self._keyed else None
        rest_wait, rest_busy = self._wait - wait, self._busy - busy
        self._clear(end)
        self._wait, self._busy = rest_wait, rest_busy
        self._since = _At(end, 0.0, 0.0)
        if tape is not None:
            self._since, self._recording = _At(tape.time, tape.wait - wait, tape.busy - busy), True
        wall = end - base
        wait = min(wait, wall)
        self._done(Done(end, wall, wait, min(busy, wall - wait), trained.steps, trained.label))
