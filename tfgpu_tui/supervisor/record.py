"""Every event into the journal and into the run's state; the report when the run ends."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tfgpu_tui.events import Dropped, Event, Fault
from tfgpu_tui.journal import JournalReader, JournalWriter
from tfgpu_tui.rundir import RunDir
from tfgpu_tui.state import RunState
from tfgpu_tui.supervisor.clock import RunClock

MAX_NOTES = 50


class Recorder:
    """The only writer of a run's journal, and the fold of what it wrote."""

    def __init__(self, run: RunDir, clock: RunClock | None = None) -> None:
        """Goes on with a journal that is there already."""
        self.clock = clock or RunClock()
        self._run = run
        self.state = _read(run)
        self._refused = 0
        self._noted = 0
        self._reported = 0
        self._journal: JournalWriter | None = None
        try:
            self._journal = JournalWriter(run.journal)
        except OSError as error:  # the script already runs, and must not pay for our disk
            self.fault("journal", f"{run.journal} can't be written: {error.strerror}")

    def record(self, event: Event) -> bool:
        """False where the event was not taken: its content is nonsense to the reducer or to JSON, or the disk failed.

        The state takes it first, so that an event which the reducer can't digest (from a broken or hostile peer)
        never reaches the journal, where it would stop every later reader too.
        """
        try:
            event = self.clock.fit(event)
            self.state.apply(event)
            return self._journal is not None and self._journal.append(event)
        except Exception:  # whatever a foreign event makes the reducer do: the run must go on
            self._refused += 1
            self.note_traceback()
            return False

    def note(self, text: str) -> None:
        """A few lines for whoever looks for a mistake of ours, into supervisor.log; only the first ones of a run."""
        self._noted += 1
        if self._noted <= MAX_NOTES:
            with contextlib.suppress(OSError), self._run.supervisor_log.open("a") as log:
                log.write(text.rstrip() + "\n")

    def note_traceback(self) -> None:
        """The exception being handled, into supervisor.log."""
        self.note(traceback.format_exc())

    def refuse(self, why: str) -> None:
        """One more message that was not taken."""
        self._refused += 1
        self.note(f"refused: {why}")

    def fault(self, part: str, message: str) -> None:
        """Says that a part of the monitor failed."""
        self.record(Fault(t=time.time(), src="child", part=part, message=message))

    def report_drops(self) -> None:
        """Tells the journal how many messages were dropped, when the number grew."""
        lost = self._refused + (self._journal.lost if self._journal else 0)
        if lost > self._reported and self.record(Dropped(t=time.time(), src="child", count=lost, where="supervisor")):
            self._reported = lost

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


def _read(run: RunDir) -> RunState:
    state = RunState()
    if not run.journal.is_file():
        return state
    try:
        with JournalReader(run.journal) as reader:
            for event in reader:
                state.apply(event)
    except OSError:
        pass  # it will be said when it can't be written
    return state


def write_report(report: dict[str, Any], path: Path) -> None:
    """Writes a report, in one step where the path is an ordinary file (and not /dev/stdout, say). Raises OSError."""
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def say(message: str) -> None:
    """One line of the tool itself on stderr."""
    print(f"tfgpu-tui: {message}", file=sys.stderr, flush=True)
