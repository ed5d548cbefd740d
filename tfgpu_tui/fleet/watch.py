"""All sources together, as one picture: rows, what the ranks of each job show side by side, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfgpu_tui.core import fleet
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import FindingLog
from tfgpu_tui.diagnose.ranks import findings

HELD_UP_S = 3.0
"""A reader that comes back so late was held up itself (stopped, asleep, on a machine that is too busy): what it did not
hear meanwhile says nothing."""
WATCHED_S = 6.0
"""So long a silence must last on while its reader looks on time: the age of each run's files is asked every 5 s."""


class Source(Protocol):
    """Where runs come from. Times are of the monotonic clock."""

    def read(self, now: float, deadline: float) -> bool: ...

    def rows(self, now: float) -> Iterator[Row]: ...

    def notes(self) -> list[str]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Told:
    """A finding about the ranks of a job."""

    job: str
    finding: Finding
    since: float


@dataclass(frozen=True)
class Picture:
    """The fleet at one moment."""

    rows: tuple[Row, ...] = ()
    told: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()
    """Hosts that can't be read, in words."""
    now: float = 0.0
    """Unix seconds."""
    behind: bool = False
    """There is history to read."""
    unsure: bool = False
    """A rank seems silent, and was not watched for long enough to say so."""
    asked: str | None = None
    """The job whose runs alone were asked for."""
    jobless: int = 0
    """Runs that go on and are not shown, since they told no job: a process tells it once TensorFlow is imported."""
    others: int = 0
    """Runs that go on and are not shown, since they belong to another job."""


def _order(row: Row) -> tuple[bool, str, bool, int, str, str]:
    return row.job is None, row.job or "", row.rank is None, row.rank or 0, row.host, row.key


class Fleet:
    """Reads sources, again and again."""

    def __init__(
        self, sources: Sequence[Source], job: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`job`: only the runs of this one, by its name or the beginning of that."""
        self._sources, self._job, self._clock = sources, job, clock
        self._logs: dict[str, FindingLog] = {}
        self._read_at: tuple[float, float] | None = None
        """When it was read last, by the monotonic clock and by the other one, which goes on while a machine sleeps."""
        self._on_time_since = 0.0
        self._seen: set[str] = set()
        """Keys of runs that went on when they were seen: they stay after their end."""

    def read(self, budget_s: float) -> Picture:
        """Takes in what is new, for about so long, and draws the picture of it."""
        now = time.monotonic()
        deadline = now + budget_s
        self._note_delay(now)
        behind = [source.read(now, deadline) for source in self._sources]
        rows = sorted((row for source in self._sources for row in source.rows(now)), key=_order)
        clock = self._clock()
        live = list(self._live(rows))
        shown = tuple(row for row in live if self._is_asked_for(row))
        left = [row for row in live if row.goes_on and not self._is_asked_for(row)]
        jobless = sum(row.job is None for row in left)
        notes = tuple(note for source in self._sources for note in source.notes())
        jobs = fleet.jobs(shown)
        watched = now - self._on_time_since >= WATCHED_S
        told = () if any(behind) else tuple(self._told(jobs, clock, watched))
        unsure = not watched and any(fleet.silent(ranks) for ranks in jobs.values())
        self._read_at = time.monotonic(), self._clock()
        return Picture(shown, told, notes, clock, any(behind), unsure, self._job, jobless, others=len(left) - jobless)

    def _note_delay(self, now: float) -> None:
        late = self._read_at is None or max(now - self._read_at[0], self._clock() - self._read_at[1]) > HELD_UP_S
        if late:
            self._on_time_since = now

    def _live(self, rows: list[Row]) -> Iterator[Row]:
        """Those that go on, or did so when they were first seen; and ranks of jobs that go on."""
        self._seen |= {row.key for row in rows if row.goes_on}
        jobs = {row.job for row in rows if row.goes_on and row.job is not None}
        for row in rows:
            if row.key in self._seen or row.job in jobs:
                yield row

    def _is_asked_for(self, row: Row) -> bool:
        return self._job is None or (row.job or "").startswith(self._job)

    def _told(self, jobs: dict[str, list[Row]], clock: float, watched: bool) -> Iterator[Told]:
        for gone in self._logs.keys() - jobs.keys():
            del self._logs[gone]
        for job, ranks in jobs.items():
            log = self._logs.setdefault(job, FindingLog())
            for finding, since in log.update(list(findings(ranks, watched)), clock):
                yield Told(job, finding, since)

    def close(self) -> None:
        for source in self._sources:
            source.close()
