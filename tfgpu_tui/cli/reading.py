"""A run's journal, folded to its end: what the verbs tell of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs import history, listing, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir


class Told(NamedTuple):
    """What a run's journal tells, and what its folder does."""

    state: RunState
    life: str
    skipped: int

    def built(self) -> dict[str, Any]:
        from tfgpu_tui.report import report_json as reports

        return reports.build(self.state, self.life, self.skipped)


def told(run: RunDir) -> Told:
    """All that its journal holds now. Raises RunNotFound where it holds no run, or can't be read."""
    state, reader = history.latest(run.journal)
    with reader:
        go_on(state, reader)
    return known(run, state, reader.skipped)


def folded(run: RunDir) -> RunState:
    """A run's state after all of its journal. Raises RunNotFound where it has none."""
    return told(run).state


def known(run: RunDir, state: RunState, skipped: int) -> Told:
    """The same of a state that was folded by `go_on`. Raises RunNotFound where no event came."""
    if state.run is None:
        raise rundir.RunNotFound(f"{run.journal} holds no run (yet)")
    return Told(state, "" if state.ended is not None else _life(run), skipped)


def go_on(state: RunState, reader: JournalReader) -> None:
    """Folds what is new. Raises RunNotFound where the journal can't be read."""
    try:
        for event in reader:
            reader.skipped += not state.take(event)
    except OSError as error:
        raise rundir.RunNotFound(f"the journal {error.filename or ''} can't be read: {error.strerror}") from error


def _life(run: RunDir) -> str:
    """What is known of a run whose journal has no end."""
    try:
        found = listing.summary(run)
    except rundir.RunNotFound:
        return "unknown"
    return "running" if found.state == "ended" or found.goes_on else found.state  # it may have ended while we read
