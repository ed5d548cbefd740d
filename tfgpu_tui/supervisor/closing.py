"""Ends an interpreter that does not close after a stop: its script is over, and it waits for what never comes.

TensorFlow destroys an iterator only when all calls of its pipeline have returned, and a call of Python never returns in
an interpreter that closes. The agent releases what a stopped script left; this is for what it can't reach.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tfgpu_tui.core.events import Event, Stopping
from tfgpu_tui.core.state import RunState

IDLE_S = 3.0
"""An interpreter that does nothing for so long waits."""
KILL_S = 2.0
"""Between SIGTERM and SIGKILL."""
BUSY = 0.05
"""Of a core: threads that look around now and then use less."""
STAGES = {"interpreter": signal.SIGTERM, "kill interpreter": signal.SIGKILL}


class Work(NamedTuple):
    """What a process has done so far."""

    waits: bool
    """Its main thread sleeps, and neither on a disk nor under a debugger."""
    cpu_s: float
    written: int | None
    """Bytes; None where the system does not tell."""


class Closing:
    """Looks after the end of a script's interpreter, from the end of the script's own code on."""

    def __init__(self, pid: int, state: RunState, record: Callable[[Event], object]) -> None:
        self._pid = pid
        self._state = state
        self._record = record
        self._since = 0.0
        self._before: Work | None = None
        self._sent = 0
        self._sent_at = 0.0

    def look(self) -> None:
        """Signals an interpreter that was stopped, and waits. To be called a few times a second."""
        if self._state.exiting_t is None or self._state.stop_reason is None:
            self._before = None
            return
        now = time.monotonic()
        if self._sent:
            if self._sent < len(STAGES) and now - self._sent_at >= KILL_S:
                self._signal(now)
            return
        work = work_of(self._pid)
        if work is None or self._before is None or self._worked(work, self._before, now - self._since):
            self._before, self._since = work, now
        elif now - self._since >= IDLE_S:
            self._signal(now)

    @staticmethod
    def _worked(work: Work, before: Work, seconds: float) -> bool:
        tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        cpu_s = work.cpu_s - before.cpu_s
        return not work.waits or work.written != before.written or cpu_s > BUSY * seconds + 2 * tick_s

    def _signal(self, now: float) -> None:
        stage, number = list(STAGES.items())[self._sent]
        self._sent, self._sent_at = self._sent + 1, now
        try:
            os.kill(self._pid, number)  # it alone: the script's children are not what waits
        except ProcessLookupError:
            return
        why = f"the script was over, its interpreter waited for {IDLE_S:.0f} s and did not close"
        grace_s = KILL_S if self._sent < len(STAGES) else None
        self._record(
            Stopping(
                t=time.time(), src="child", stage=stage, grace_s=grace_s, reason=f"{self._state.stop_reason}: {why}"
            )
        )


def work_of(pid: int) -> Work | None:
    """What a process has done so far (proc(5)); None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    written = None
    try:
        counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        written = int(counters["wchar"])
    except (OSError, ValueError, KeyError):
        pass
    return Work(fields[0] == "S", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), written)
