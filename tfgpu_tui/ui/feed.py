"""Where the screen's data comes from: tails one run's journal into a RunState and its output into lines.

Live, attach and replay are the same path: a replay only holds events back until their time has come. The work of one
call is bounded, so that the screen stays alive while it catches up with a journal of a day.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tfgpu_tui.events import Event
from tfgpu_tui.rundir import JournalReader, RunDir
from tfgpu_tui.state import RunState
from tfgpu_tui.terminal import TerminalLines

BATCH_EVENTS = 200
"""Events decoded at once, about 2 ms: how coarse the time budget is."""
LOOK_EVERY = 1.1
"""While catching up, `look` is called whenever this many times the events of the last call are read: often enough to
know since when a finding stands, and about a hundred times for a million events."""
OUTPUT_TAIL_BYTES = 512 * 1024
"""What is read of output.log at first; its older part is on disk."""
OUTPUT_READ_BYTES = 128 * 1024
OUTPUT_PERIOD_S = 1.0
"""Lines are handed on at most once a second: a terminal repaint for every progress update would cost the most."""


@dataclass
class Feed:
    """One run's journal and output, read up to now. `speed` is None for a live run, else that of a replay."""

    run: RunDir
    speed: float | None = None
    state: RunState = field(default_factory=RunState)
    lines: TerminalLines = field(default_factory=TerminalLines)
    events: int = 0
    """Events applied so far."""
    behind: bool = True
    """There was more to read when the last call's time was used up."""
    look: Callable[[RunState], None] | None = None
    """Called on the way through a long history, so that its reader can tell what was when."""
    paused: bool = False
    """Nothing is read while its reader looks at a frozen screen: it is all in the files."""

    def __post_init__(self) -> None:
        self._reader = JournalReader(self.run.journal)
        self._held: deque[Event] = deque()
        self._replay_from: tuple[float, float] | None = None
        self._look_at = 0
        self._output: int | None = None
        self._output_at = 0
        self._output_read = 0.0

    def advance(self, budget_s: float = 0.05) -> bool:
        """Reads what is new, for about `budget_s` seconds; True where something changed. Raises OSError where the
        journal can't be read."""
        if self.paused:
            return False
        before = self.events
        deadline = time.perf_counter() + budget_s
        while True:
            batch = self._due()
            for event in batch:
                self.state.apply(event)
            self.events += len(batch)
            self.behind = len(batch) >= BATCH_EVENTS
            if self.look is not None and self.events >= self._look_at:
                self._look_at = max(self.events + 50, int(self.events * LOOK_EVERY))
                self.look(self.state)
            if not self.behind or time.perf_counter() >= deadline:
                break
        return self._read_output() or self.events != before

    def now(self, clock: float) -> float:
        """The time to show: `clock` while the run is live, the journal's in a replay, its end when it has ended."""
        if self.state.ended is not None:
            return self.state.ended.t
        if self.speed is None:
            return max(clock, self.state.now)
        return self._replay_time() if self._replay_from else self.state.now

    def close(self) -> None:
        """Gives the files back."""
        self._reader.close()
        if self._output is not None:
            os.close(self._output)
            self._output = None

    def _due(self) -> list[Event]:
        if self.speed is None:
            return self._reader.poll(BATCH_EVENTS)
        if len(self._held) < BATCH_EVENTS:
            self._held.extend(self._reader.poll(BATCH_EVENTS))
        if self._replay_from is None:
            if not self._held:
                return []
            self._replay_from = (self._held[0].t, time.monotonic())
        until = self._replay_time()
        due: list[Event] = []
        while self._held and len(due) < BATCH_EVENTS and self._held[0].t <= until:
            due.append(self._held.popleft())
        return due

    def _replay_time(self) -> float:
        assert self._replay_from is not None and self.speed is not None
        first, at = self._replay_from
        return first + (time.monotonic() - at) * self.speed

    def resume(self) -> None:
        """After a pause: a replay goes on where it stood."""
        self.paused = False
        if self._replay_from is not None and self.speed:
            self._replay_from = (self.state.now, time.monotonic())

    def _read_output(self) -> bool:
        """Feeds new bytes of output.log, at most once a second; True where there were any."""
        now = time.monotonic()
        # The last lines of an ended run are not held back.
        if self._output is not None and now - self._output_read < OUTPUT_PERIOD_S and self.state.ended is None:
            return False
        if self._output is None and not self._open_output():
            return False
        assert self._output is not None
        limit = OUTPUT_READ_BYTES
        if self.speed is not None:
            limit = min(limit, self.state.log_bytes - self._output_at)
        data = os.read(self._output, limit) if limit > 0 else b""
        if not data:
            return False
        self._output_read = now
        self._output_at += len(data)
        self.lines.feed(data)
        return True

    def _open_output(self) -> bool:
        try:
            self._output = os.open(self.run.output_log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        size = os.fstat(self._output).st_size
        if self.speed is None and size > OUTPUT_TAIL_BYTES:
            os.lseek(self._output, size - OUTPUT_TAIL_BYTES, os.SEEK_SET)
            self._output_at = size - OUTPUT_TAIL_BYTES
        return True
