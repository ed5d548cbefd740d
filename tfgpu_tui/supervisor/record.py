"""Every event into the journal and into the run's state."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

from tfgpu_tui.core.events import Dropped, Event, Fault, RunEnded
from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs import history
from tfgpu_tui.runs.journal import JournalWriter
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor.clock import RunClock

MAX_NOTES = 50
COMPRESSION_S = 5.0
"""At the end, for the compression of the last part; without it the part is read as it is."""


class Recorder:
    """The only writer of a run's journal, and the fold of what it wrote."""

    def __init__(self, run: RunDir, clock: RunClock | None = None) -> None:
        """Goes on with a journal that is there already."""
        self.clock = clock or RunClock()
        self._run = run
        self.state = _read(run)
        self._part_bytes = history.PART_BYTES
        self._compressing: threading.Thread | None = None
        self._refused = 0
        self._noted = 0
        self._reported = self._lost_before = 0
        self._journal: JournalWriter | None = None
        try:
            self._journal = JournalWriter(run.journal, keep_back=True)
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
            written = self._journal is not None and self._journal.append(event)
            if self._journal is not None and self._journal.size_bytes >= self._part_bytes and self.state.running:
                self._roll(self._journal)
            return written
        except Exception:  # whatever a foreign event makes the reducer do: the run must go on
            self._refused += 1
            self.note_traceback()
            return False

    def end(self, event: RunEnded) -> None:
        """The run's last event. A disk that takes no more must not leave a run that never ended."""
        if not self.record(event) and self._journal is not None:
            lost = self._refused + self._journal.lost
            dropped = Dropped(t=event.t, src="child", pid=os.getpid(), count=lost, where="supervisor")
            self._journal.append_at_end([dropped, event])

    def note(self, text: str) -> None:
        """A few lines for whoever looks for a mistake of ours, into supervisor.log; only the first ones of a run."""
        self._noted += 1
        if self._noted <= MAX_NOTES:
            with contextlib.suppress(OSError), self._run.supervisor_log.open("a") as log:
                log.write(text.rstrip() + "\n")

    def take_complaints(self) -> None:
        """What asyncio and Python itself say of mistakes goes into supervisor.log: stderr may be the script's own."""
        logger = logging.getLogger("asyncio")
        logger.propagate = False
        logger.handlers = [_Notes(self.note)]
        threading.excepthook = lambda told: self.note(f"a thread ended with {told.exc_type.__name__}: {told.exc_value}")
        sys.unraisablehook = lambda told: self.note(f"{told.err_msg or 'ignored'}: {told.exc_value!r}")

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
        if lost > self._reported and self.record(
            Dropped(t=time.time(), src="child", pid=os.getpid(), count=lost, where="supervisor")
        ):
            self._reported = lost
            if self._journal is not None and self._journal.lost > self._lost_before:
                self._lost_before = self._journal.lost
                self._roll(self._journal)  # the state holds what the journal lacks

    def look_after_file(self) -> None:
        """Begins the journal anew where it, or its folder, was deleted: with the state of the run so far."""
        if self._journal is not None and self._journal.deleted:
            self._roll(self._journal)
            if not self._journal.deleted:
                self.fault("journal", "it was deleted; the run's state was kept, its single events so far are gone")

    def _roll(self, journal: JournalWriter) -> None:
        try:
            self._compressing = history.roll(self._run.journal, journal, self.state)
            self._part_bytes = history.PART_BYTES
        except Exception:  # a folder that takes no new file, a state that can't be written: the journal grows on
            self._part_bytes = journal.size_bytes + history.PART_BYTES
            self.note_traceback()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
        if self._compressing is not None:
            self._compressing.join(COMPRESSION_S)


class _Notes(logging.Handler):
    """Hands what is logged on, as text."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(self.format(record))


def _read(run: RunDir) -> RunState:
    """The state after what the journal holds already: a supervisor before this one was lost."""
    if not run.journal.is_file():
        return RunState()
    try:
        state, reader = history.latest(run.journal)
        with reader:
            for event in reader:
                with contextlib.suppress(Exception):  # of a journal that somebody else wrote into
                    state.apply(event)
    except OSError:
        return RunState()  # it will be said when it can't be written
    return state


def say(message: str) -> None:
    """One line of the tool itself on stderr."""
    if sys.stderr is not None:  # closed by the caller: print would take stdout, which is the script's
        print(f"tfgpu-tui: {message}", file=sys.stderr, flush=True)
