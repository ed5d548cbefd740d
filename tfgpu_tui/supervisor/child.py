"""The script's process: its environment, its signals, how it ended; its start with the caller's streams.

Imports little: everything in here runs before the script's first line, and the user waits for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from tfgpu_tui.core import knobs
from tfgpu_tui.keeper.spawn import script_environment, start
from tfgpu_tui.runs.rundir import Meta

INJECT = Path(__file__).parent.parent / "agent" / "inject"
"""Holds only sitecustomize.py, which Python's site.py imports at start."""
CANNOT_RUN = 127
"""Exit status when the interpreter itself can't be started, as a shell says it."""


class Script(Protocol):
    """The running script, whoever its parent is."""

    @property
    def pid(self) -> int: ...

    @property
    def terminal(self) -> int | None: ...

    @property
    def core_dumped(self) -> bool | None: ...

    def status(self) -> tuple[int | None, int | None] | None: ...

    def send_signal(self, number: int) -> None: ...


class Child:
    """A script that this process started, with its caller's streams."""

    terminal: int | None = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.core_dumped: bool | None = None
        """Of a script that a signal ended; known once `status` says so."""
        self._status: tuple[int | None, int | None] | None = None

    def status(self) -> tuple[int | None, int | None] | None:
        """(exit code, None) or (None, signal) once it ended; (None, None) where how it ended can't be known; None while
        it runs. Never blocks."""
        if self._status is None:
            try:
                ended = how_it_ended(self.pid)
            except ChildProcessError:
                ended = None
                self._status = None, None
            if ended is not None:
                code, self.core_dumped = ended
                self._status = (None, -code) if code < 0 else (code, None)
                os.waitpid(self.pid, 0)
        return self._status

    def send_signal(self, number: int) -> None:
        """Signals the script alone: beside us, the group is the caller's. One that has ended is no error."""
        if self.status() is None:
            with contextlib.suppress(PermissionError):  # a script that became another user
                os.kill(self.pid, number)


def how_it_ended(pid: int) -> tuple[int, bool | None] | None:
    """Of a child that ended: its exit code, or minus its signal and whether the kernel wrote a core dump. It stays a
    zombie. None while it runs. Raises ChildProcessError where it was waited for already."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return found.si_status, None
    return -found.si_status, found.si_code == os.CLD_DUMPED


def end_of_stderr_file(descriptor: int = 2) -> int | None:
    """Where in its file the next byte of stderr will stand; None where stderr is no file."""
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return None
        appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        return state.st_size if appends else os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:  # closed
        return None


def additions(meta: Meta, base: Mapping[str, str]) -> dict[str, str]:
    """What the script's environment has besides the caller's: the agent's folder before PYTHONPATH, and the knobs."""
    told = meta.knobs
    if meta.mode == "headless":  # TensorFlow's profiler writes four lines to stderr, which here is the script's alone
        told = {"profile": "off", **told}
    env = {
        "PYTHONPATH": os.pathsep.join([str(INJECT), *filter(None, [base.get("PYTHONPATH")])]),
        "TFGPU_TUI_SOCKET": meta.socket,
        "TFGPU_TUI_KNOBS": json.dumps(told),
    }
    if meta.trial is not None:
        env["TFGPU_TUI_TRIAL"] = "1"
    if meta.stop_after is not None:
        env["TFGPU_TUI_STOP_AFTER"] = str(meta.stop_after)
    asked = meta.knobs
    if asked.get("library_path") == knobs.AUTOMATIC:
        from tfgpu_tui.doctor import library_folders  # only where it is asked for: the look takes some 40 ms

        asked = knobs.resolve_library_path(asked, lambda: library_folders(meta.python))
    return env | dict(knobs.environment(asked, base))


def spawn_inherited(meta: Meta, ignored: Collection[int] = ()) -> Child:
    """Starts the script with the caller's own streams, terminal, process group and file descriptors: to the script
    it looks just like plain python. `ignored` are the signals that the caller ignores, and this process no longer does.
    Raises OSError where the interpreter can't be started."""
    env = script_environment(os.environ, additions(meta, os.environ))

    def prepare() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        os.chdir(meta.cwd)

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        return Child(start([meta.python, *meta.argv], env, blocked, prepare))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
