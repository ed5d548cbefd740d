"""The runs of this user's state folder, which several hosts may share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tfgpu_tui.core import fleet
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet.follow import Followed
from tfgpu_tui.runs import alive, history, listing, rundir
from tfgpu_tui.runs.rundir import RunDir

LIST_EVERY_S = 3.0
LIFE_EVERY_S = 5.0
FULL_READ_EVERY_S = 10.0
"""A journal that did not grow is read all the same: its last events may lie beside it, on a disk that is full."""
SAMPLES_EVERY_S = 5.0
"""Of memory and GPUs: a row of many needs them no more often."""
MANY, MANY_EVERY_S, MANY_SAMPLES_EVERY_S = 16, 2.5, 10.0
"""Of more runs than that each is read every third second, and its samples every tenth."""
RECENT_S = 3600.0
"""Runs without an end that fell silent before that are none of today's."""
MUCH_BYTES = 1 << 19
"""More is read at once only of a history: then there may be more of it."""


class LocalRun:
    """One run whose files are here."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        state, self._reader = history.latest(run.journal)
        self._followed = Followed(state)
        self._size = -1
        self._read_at = self._life_at = self._sampled_at = self._heard_at = 0.0
        self._life, self._quiet_s = "unknown", 0.0
        self._row: Row | None = None
        """As it was told last; None once there is more."""
        self.behind = True

    def read(self, now: float, every_s: float = 0.0, samples_every_s: float = SAMPLES_EVERY_S) -> None:
        """Takes in what is new, or a piece of a long history, unless it was read so lately. `now` is of the monotonic
        clock."""
        if not self.behind and now - self._read_at < every_s:
            return
        with contextlib.suppress(OSError):
            size = self.run.journal.stat().st_size
            if not self.behind and size == self._size and now - self._read_at < FULL_READ_EVERY_S:
                return
            self._size, self._read_at = size, now
            lines = self._reader.next_lines()
            self.behind = sum(map(len, lines)) >= MUCH_BYTES
            samples = not self.behind and now - self._sampled_at >= samples_every_s
            self._followed.take(lines, samples)
            self._row = None
            self._sampled_at = now if samples else self._sampled_at
            if lines and not self.behind:
                self._quiet_s, self._heard_at = 0.0, now

    def row(self, now: float) -> Row:
        """As it stands."""
        heard = self._life in ("running", "elsewhere") and now - self._heard_at < LIFE_EVERY_S
        if not heard and now - self._life_at >= LIFE_EVERY_S:
            self._life_at = now
            self._look()
            self._row = None
        if self._row is None:
            self._row = fleet.row(self._followed.state, key=self.run.id, life=self._life, quiet_s=self._quiet_s)
        return self._row

    def _look(self) -> None:
        self._quiet_s = _silent_s(self.run)
        try:
            if rundir.is_running(rundir.read_meta(self.run)):
                self._life = "running"
            else:
                found = listing.summary(self.run)
                self._life = "elsewhere" if found.goes_on else "lost" if found.state == "elsewhere" else found.state
        except rundir.RunNotFound:
            self._life = "unknown"

    def close(self) -> None:
        self._reader.close()


class Folder:
    """All of them that run, and those that fell silent or ended while they were watched."""

    def __init__(self) -> None:
        self._runs: dict[Path, LocalRun] = {}
        self._passed: set[Path] = set()
        """Runs that were over when they were first seen."""
        self._listed_at: float | None = None

    def read(self, now: float, deadline: float) -> bool:
        """Reads on until the deadline, both of the monotonic clock; True where there is more to read."""
        if self._listed_at is None or now - self._listed_at >= LIST_EVERY_S:
            self._listed_at = now
            self._list()
        pace = (MANY_EVERY_S, MANY_SAMPLES_EVERY_S) if len(self._runs) > MANY else (0.0, SAMPLES_EVERY_S)
        for run in self._runs.values():
            run.read(now, *pace)
            while run.behind and time.monotonic() < deadline:
                run.read(now)
        return any(run.behind for run in self._runs.values())

    def rows(self, now: float) -> Iterator[Row]:
        """One for each."""
        for run in self._runs.values():
            yield run.row(now)

    def notes(self) -> list[str]:
        """What can't be read, in words: nothing here."""
        return []

    def _list(self) -> None:
        try:
            there = {run.path: run for run in rundir.all_runs()}
        except (rundir.RunNotFound, rundir.StateDirError):
            return
        for path in self._runs.keys() - there.keys():
            self._runs.pop(path).close()
        self._passed &= there.keys()
        for path, run in there.items():
            if path in self._runs or path in self._passed:
                continue
            if _is_of_today(run):
                self._runs[path] = LocalRun(run)
            else:
                self._passed.add(path)

    def close(self) -> None:
        for run in self._runs.values():
            run.close()


def _is_of_today(run: RunDir) -> bool:
    """Whether it goes on, or has no end and was written to a short time ago."""
    if not rundir.in_own_folder(run)[0]:
        return False  # another user could have written it
    try:
        found = listing.summary(run)
    except rundir.RunNotFound:
        return False
    return found.goes_on or (found.state in ("lost", "elsewhere") and _silent_s(run) < RECENT_S)


def _silent_s(run: RunDir) -> float:
    """Since its supervisor wrote something, by the file server's clock."""
    return alive.silent_s(run.path, rundir.last_written(run.journal, run.path / alive.NAME))
