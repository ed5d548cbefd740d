"""Where the screen's data comes from: tails one run's journal into a RunState and its output into lines.

Live, attach and replay are the same path: a replay only holds events back until their time has come. The work of one
call is bounded, so that the screen stays alive while it catches up with a journal of a day.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import field

from tfgpu_tui.core.events import Event
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs import files, history
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import TerminalLines

BATCH_EVENTS = 200
"""Events decoded at once, about 2 ms: how coarse the time budget is."""
LOOK_EVERY = 1.1
"""While catching up, `look` is called whenever this many times the events of the last call are read: often enough to
know since when a finding stands, and about a hundred times for a million events."""
LOOK_AT_LEAST = 20
OUTPUT_TAIL_BYTES = 512 * 1024
"""What is read of output.log at first; its older part is on disk."""
OUTPUT_READ_BYTES = 128 * 1024
OUTPUT_PERIOD_S = 1.0
"""Lines are handed on at most once a second: a terminal repaint for every progress update would cost the most."""


@dataclass
class ReplayClock:
    """The moment of a recording that is shown: moves with `speed` unless it is held."""

    speed: float = 1.0
    held: bool = False
    _at: float | None = None
    _since: float = 0.0

    @property
    def started(self) -> bool:
        return self._at is not None

    @property
    def position(self) -> float:
        """Unix seconds in the recording."""
        assert self._at is not None
        return self._at if self.held else self._at + (time.monotonic() - self._since) * self.speed

    def go_to(self, t: float) -> None:
        """Jumps there."""
        self._at, self._since = t, time.monotonic()

    def hold(self, held: bool) -> None:
        """Stops, or goes on."""
        if self.started:
            self.go_to(self.position)
        self.held = held

    def change_speed(self, speed: float) -> None:
        """From here on."""
        if self.started:
            self.go_to(self.position)
        self.speed = speed


@dataclass
class Feed:
    """One run's journal and output, read up to now. `replay` is None for a live run."""

    run: RunDir
    replay: ReplayClock | None = None
    at: float | None = None
    """The time of a recording at which its replay begins, unix seconds; None: its oldest event."""
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
        self.state, self._reader = self._begin()
        self._held: deque[Event] = deque()
        self._look_at = 1 + LOOK_AT_LEAST
        self._output: int | None = None
        self._output_at = 0
        self._output_read = 0.0

    def _begin(self) -> tuple[RunState, JournalReader]:
        """A live run is known from its last checkpoint on, a replay from the checkpoint before its time."""
        if self.replay is None:
            return history.latest(self.run.journal)
        return history.whole(self.run.journal) if self.at is None else history.before(self.run.journal, self.at)

    def is_far(self, t: float) -> bool:
        """Whether the time `t` of a recording is reached sooner by a feed that begins `at` it: it lies behind, or a
        checkpoint lies between."""
        return t < self.state.now or history.last_before(self.run.journal, t) >= self._reader.number

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
                self.state.take(event)
                self.events += 1
                if self.look is not None and self.events >= self._look_at:
                    self._look_at = max(self.events + LOOK_AT_LEAST, int(self.events * LOOK_EVERY))
                    self.look(self.state)
            self.behind = len(batch) >= BATCH_EVENTS
            if not self.behind or time.perf_counter() >= deadline:
                break
        return self._read_output() or self.events != before

    def now(self, clock: float) -> float:
        """The time to show: `clock` while the run is live, the recording's in a replay, its end when it has ended."""
        if self.state.ended is not None:
            return self.state.ended.t
        if self.replay is None:
            return max(clock, self.state.now)
        return self.replay.position if self.replay.started else self.state.now

    def close(self) -> None:
        """Gives the files back."""
        self._reader.close()
        if self._output is not None:
            os.close(self._output)
            self._output = None

    def _due(self) -> list[Event]:
        if self.replay is None:
            return self._reader.poll(BATCH_EVENTS)
        if len(self._held) < BATCH_EVENTS:
            self._held.extend(self._reader.poll(BATCH_EVENTS))
        if not self.replay.started:
            if not self._held:
                return []
            self.replay.go_to(self._held[0].t)
        until = self.replay.position
        due: list[Event] = []
        while self._held and len(due) < BATCH_EVENTS and self._held[0].t <= until:
            due.append(self._held.popleft())
        return due

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
        if self.replay is not None:
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
            self._output = files.open_regular(self.run.output_log)
        except OSError:
            return False
        shown = os.fstat(self._output).st_size if self.replay is None else self.state.log_bytes
        if shown > OUTPUT_TAIL_BYTES:
            self._output_at = os.lseek(self._output, shown - OUTPUT_TAIL_BYTES, os.SEEK_SET)
        return True
