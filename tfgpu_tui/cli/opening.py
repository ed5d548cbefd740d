"""From the start of a run to its screen: a signal in between must not leave a training that nobody knows of.

The script starts first, and Textual takes some 0.3 s to load and paint. Until then signals are noted, not raised: out
of a handler, an exception would come up anywhere in the modules that are being loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType

from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch
from tfgpu_tui.supervisor.launch import LaunchSpec

IMPATIENT = 3
"""So many signals end the loading itself, where it hangs."""
STOP_LIMIT_S = 30.0
"""How long Ctrl+C waits for the script's end: a little longer than SIGINT, SIGTERM and SIGKILL take together."""


def start(spec: LaunchSpec) -> tuple[RunDir, list[int]]:
    """Starts the run; where the signals will stand that come before its screen (`note_signals`). Raises
    rundir.StateDirError."""
    early = note_signals()
    callers = launch.callers_descriptors()
    run = launch.start(spec, callers)
    for number in callers:  # the script has them: a pipe of its caller must not stay open because of the screen
        os.close(number)
    return run, early


def note_signals() -> list[int]:
    """Where the signals will stand that come before the screen takes them over. What is ignored (nohup) stays so."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) >= IMPATIENT:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    return came


def stop(run: RunDir) -> None:
    """What Ctrl+C means to a script that has just begun, while nobody can ask: SIGINT, as without the monitor. Another
    Ctrl+C ends the waiting for its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(rundir.RunNotFound, OSError, KeyboardInterrupt):
        words = f"Ctrl+C before the screen was there: stopping {run.id} (Ctrl+C again: don't wait for its end)"
        os.write(1, f"\n{words}\n".encode())
        with contextlib.suppress(launch.ControlError):  # a supervisor that still starts reads it later
            launch.stop(run, "interrupt")
        deadline = time.monotonic() + STOP_LIMIT_S
        while listing.summary(run).state == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
