"""The processes that a script leaves behind: how they are found, and ended after a stop."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tfgpu_tui.runs.rundir import process_start

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER, prctl(2)."""


def adopt_orphans() -> None:
    """Processes of the run that lose their parent become this process's children, not those of the machine's first
    process: that is how a stop finds all of them."""
    try:
        import ctypes  # some milliseconds, and the script runs already

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # then only the script's own tree is found


def reap_adopted(kept: set[int]) -> None:
    """Takes leave of this process's children that ended, all but those in `kept`."""
    for pid in _children(os.getpid()):
        if pid not in kept and process_start(pid) is None:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


class Reaper:
    """Takes leave of adopted processes beside a program that waits for short children of its own."""

    def __init__(self) -> None:
        self._ended: set[int] = set()

    def look(self, kept: set[int]) -> None:
        """To be called a few times a second; `kept` are waited for elsewhere. Whoever starts a short child waits for it
        within milliseconds: what ended already before the last look is an orphan."""
        ended = {pid for pid in _children(os.getpid()) if pid not in kept and process_start(pid) is None}
        for pid in ended & self._ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._ended = ended


def wait_for(pid: int) -> None:
    """Returns once the child `pid` ended (its status stays to be asked for); takes leave of every other that does."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) is not None and ended.si_pid != pid:
            os.waitpid(ended.si_pid, 0)


def left_behind(root: int, not_below: set[int]) -> dict[int, int]:
    """Processes below `root` that live, with their start (see `rundir.process_start`); neither `not_below` nor what is
    below those is among them."""
    found: dict[int, int] = {}
    waiting = _children(root)
    while waiting:
        pid = waiting.pop()
        if pid in not_below or pid in found:
            continue
        waiting += _children(pid)
        started = process_start(pid)
        if started is not None:
            found[pid] = started
    return found


def signal_all(processes: dict[int, int], number: int) -> None:
    """Signals each of them that is still the one that it was."""
    for pid, started in processes.items():
        if process_start(pid) == started:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass


def _children(pid: int) -> list[int]:
    """The children of all of a process's threads (/proc/PID/task/TID/children, proc(5))."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return found
