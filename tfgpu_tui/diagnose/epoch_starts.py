"""The wait for an epoch's first batch, apart from the waiting in all other steps (pure)."""

from __future__ import annotations

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.stages import batch_s

MIN_EPOCHS = 2
"""Epochs after the first, which traces and compiles, before anything at their edges is judged."""
FILLS = 0.3
"""The stages before the shuffle must account for at least this share of the pause, where their times are known."""
WHOLE = 0.5
"""A buffer of so large a part of the data takes nearly all of it before the first batch comes out."""


@dataclass(frozen=True)
class Pauses:
    """What the later epochs of a run begin with."""

    pause_s: float
    """Mean wait for an epoch's first batch."""
    share: float
    """Of the epochs' time."""
    epochs: int


@dataclass(frozen=True)
class Refill:
    """A shuffle buffer that fills meanwhile."""

    buffer_size: int | None
    filling_s: float | None
    """What the stages before the shuffle need to fill it; None where their times are not known."""
    whole: bool
    """The buffer holds (nearly) all of the data."""


def later_epochs(state: RunState) -> list[ev.Epoch]:
    """Ended epochs but the first of each fit."""
    return [e for e in state.history if e.epoch > 1 and e.wall_s]


def pauses(state: RunState) -> Pauses | None:
    """The waits for the first batches; None while too few epochs ended."""
    epochs = [e for e in later_epochs(state) if e.first_wait_s is not None]
    if len(epochs) < MIN_EPOCHS:
        return None
    waited = sum(e.first_wait_s or 0.0 for e in epochs)
    return Pauses(waited / len(epochs), waited / sum(e.wall_s or 0.0 for e in epochs), len(epochs))


def refill(state: RunState, pause_s: float) -> Refill | None:
    """The shuffle that explains such a pause; None where there is none, or where filling it takes far less."""
    stages = state.pipeline.stages if state.pipeline else []
    shuffle = next((s for s in stages if str(s.get("stage")).startswith("Shuffle")), None)
    if shuffle is None:
        return None
    filling = _filling_s(state, stages, shuffle)
    if filling is not None and filling < FILLS * pause_s:
        return None
    size, elements = shuffle.get("buffer_size"), _elements(state)
    return Refill(size, filling, bool(size and elements and size >= WHOLE * elements))


def _elements(state: RunState) -> int | None:
    """Examples in one pass over the data."""
    batches = state.dataset.batches if state.dataset is not None else None
    return batches * state.batch_size if batches and state.batch_size else None


def _filling_s(state: RunState, stages: list[Stage], shuffle: Stage) -> float | None:
    before = stages[: stages.index(shuffle)]
    size, batch = shuffle.get("buffer_size"), state.batch_size
    if not size or not batch or not before or any(s.get("per_batch_us") is None for s in before):
        return None
    elements = min(float(size), float(_elements(state) or size))
    return elements / batch * sum(map(batch_s, before))


def steady_wait_share(state: RunState) -> float | None:
    """The share of step time that waits for input, the first steps of later epochs left out."""
    judged = state.judged
    share = judged.shares()["input_wait"]
    known = pauses(state)
    if share is None or known is None:
        return share
    ended = len(later_epochs(state))
    paused = min(known.pause_s * max(ended, state.epochs_done - max(state.fits, 1)), share * judged.wall_s)
    rest = judged.wall_s - paused
    return (share * judged.wall_s - paused) / rest if rest > 0 else 0.0
