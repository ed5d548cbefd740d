"""The script's process: its environment, its terminal or the caller's streams, its window size, its signals.

Imports little: everything in here runs before the script's first line, and the user waits for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfgpu_tui import knobs
from tfgpu_tui.rundir import Meta

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


@dataclass
class Child:
    """A script that this process started. `terminal` is the master side of its PTY; None where it has the caller's
    streams."""

    process: subprocess.Popen[bytes]
    terminal: int | None
    started: float
    """time.monotonic() just before it was started."""
    core_dumped: bool | None = None
    """Of a script that a signal ended; known once `status` says so."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> tuple[int | None, int | None] | None:
        """(exit code, None) or (None, signal) once it ended; None while it runs. Never blocks."""
        if self.process.returncode is None:
            with contextlib.suppress(ChildProcessError):
                ended = how_it_ended(self.pid)  # first: Popen keeps the signal and forgets the core
                self.core_dumped = ended[1] if ended is not None else None
        code = self.process.poll()
        if code is None:
            return None
        return (None, -code) if code < 0 else (code, None)

    def send_signal(self, number: int) -> None:
        """Signals the script alone: beside us, the group is the caller's. One that has ended is no error."""
        if self.status() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


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


def environment(meta: Meta, base: Mapping[str, str]) -> dict[str, str]:
    """The script's environment: the caller's, the agent's folder before PYTHONPATH, and the knobs."""
    env = dict(base)
    env.pop("TFGPU_TUI_STOP_AFTER", None)  # of an outer run, when one monitored script starts another
    env["PYTHONPATH"] = os.pathsep.join([str(INJECT), *filter(None, [base.get("PYTHONPATH")])])
    env["TFGPU_TUI_SOCKET"] = meta.socket
    env["TFGPU_TUI_PARENT"] = str(os.getpid())
    env["TFGPU_TUI_KNOBS"] = json.dumps(meta.knobs)
    if meta.stop_after is not None:
        env["TFGPU_TUI_STOP_AFTER"] = str(meta.stop_after)
    asked = meta.knobs
    if asked.get("library_path") == knobs.AUTOMATIC:
        from tfgpu_tui.doctor import library_folders  # only where it is asked for: the look takes some 40 ms

        asked = knobs.resolve_library_path(asked, lambda: library_folders(meta.python))
    return env | knobs.environment(asked, base)


def spawn_inherited(meta: Meta) -> Child:
    """Starts the script with the caller's own streams, terminal, process group and file descriptors: to the script
    it looks just like plain python. Raises OSError where the interpreter can't be started."""
    started = time.monotonic()
    process = subprocess.Popen(
        [meta.python, *meta.argv], cwd=meta.cwd, env=environment(meta, os.environ), close_fds=False
    )
    return Child(process, None, started)


def spawn_in_terminal(meta: Meta) -> Child:
    """Starts the script as the leader of its own session, with a new PTY as its controlling terminal, so that its
    output is as live as in a shell and SIGWINCH, Ctrl+C and hang-ups mean what they mean there. Raises OSError."""
    started = time.monotonic()
    master, slave = os.openpty()
    try:
        set_window_size(master, meta.columns, meta.rows)
        process = subprocess.Popen(
            [meta.python, *meta.argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=meta.cwd,
            env=environment(meta, os.environ),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return Child(process, master, started)


def _take_terminal() -> None:
    """In the child between fork and exec, already the leader of a session, with the slave as its streams."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A launcher under nohup hands down ignored signals; a fresh terminal starts with none.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


def set_window_size(terminal: int, columns: int, rows: int) -> None:
    """Sets a PTY's size; the kernel tells the script by SIGWINCH. Sizes outside 1..4096 are brought inside."""
    columns, rows = (min(max(int(value), 1), 4096) for value in (columns, rows))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
