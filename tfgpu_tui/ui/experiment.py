"""The experiment that the screen follows: its record, read again where its conductor wrote it. Knows no Textual."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.trials import groups
from tfgpu_tui.ui.view import Trials

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group
    from tfgpu_tui.ui.control import Begun

ALIVE_PERIOD_S = 1.0


class Experiment:
    """`begun` is its conductor's process, where this process has started it."""

    def __init__(self, group_id: str, begun: Begun | None = None) -> None:
        self.id = group_id
        self._path = groups.path_of(group_id)
        self._begun = begun
        self._seen: tuple[int, int] | None = None
        self._alive_at = 0.0
        self._alive = True
        self.group: Group | None = None
        """None before it could be read."""
        self.stops = 0
        """How often it was asked to stop from here."""

    def read(self) -> Trials | None:
        """What is known now."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self.group = groups.find(self.id)
                self._seen, self._alive_at = seen, 0.0
        except (OSError, groups.GroupNotFound):
            pass  # deleted, or unreadable: what was known stays
        if self.group is None:
            return None
        now = time.monotonic()
        if now - self._alive_at >= ALIVE_PERIOD_S:
            self._alive_at = now
            self._alive = self._lives(self.group)
        return Trials(self.group, self._alive, self.stops > 0)

    def _lives(self, group: Group) -> bool:
        # Its own process is not in the record at once; and another one may go on with it.
        return (self._begun is not None and self._begun.poll() is None) or groups.goes_on(group)

    @property
    def asks(self) -> bool:
        """Nobody has said yet whether trials may write the script's files again."""
        return self.group is not None and self.group.ended == "refused"

    def run(self) -> RunDir | None:
        """The run to look at, once it has a folder."""
        if self.group is None or self.group.run is None or "/" in self.group.run:
            return None
        found = RunDir(rundir.runs_dir() / self.group.run)
        return found if found.meta_path.exists() else None

    def go_on(self, begun: Begun) -> None:
        """Another process conducts it from here on."""
        self._begun, self._seen, self.stops = begun, None, 0
