"""One run from the script's start to its exit status: detached under a screen, or in the foreground without one.

The script is started before anything that the samplers need is imported: the user waits for the first line of the
script, not for the first sample. Its socket listens before that, so an agent finds it from the start.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfgpu_tui import rundir
from tfgpu_tui.rundir import Meta, RunDir
from tfgpu_tui.supervisor import child as script

if TYPE_CHECKING:
    from tfgpu_tui.supervisor.ending import Outcome


def run_detached(run: RunDir) -> int:
    """The supervisor's process under a screen; the folder was made by the launcher. Returns the exit status."""
    # Functions, not SIG_IGN: an ignored signal would be inherited by the script.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _do_nothing)
    meta = rundir.read_meta(run)
    outcome = _supervise(run, meta, script.spawn_in_terminal, signals={signal.SIGTERM: "stop"})
    return outcome.status


def run_foreground(run: RunDir, status_every_s: float | None = None) -> int:
    """Runs the script with this process's own streams, and returns the exit status for the shell: the script's own,
    or 128 + the signal that ended it. The report is on stderr afterwards; `status_every_s` are the seconds between
    status lines there, None for none."""
    # Ctrl+C and Ctrl+\\ reach the script by the terminal itself: it decides, and we wait for it.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _do_nothing)
    forwarded = {
        number: "forward"
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    outcome = _supervise(run, rundir.read_meta(run), script.spawn_inherited, forwarded, status_every_s)
    try:
        print(outcome.text, file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads stderr any more; the report is in the run's folder
    return outcome.status


def _do_nothing(number: int, frame: object) -> None:
    pass


def _supervise(
    run: RunDir,
    meta: Meta,
    spawn: Callable[[Meta], script.Child],
    signals: dict[signal.Signals, str],
    status_every_s: float | None = None,
) -> Outcome:
    listener, socket_error = _listen(Path(meta.socket))
    begun = time.time()
    process: script.Child | None = None
    spawn_error: OSError | None = None
    early = _note_signals(signals)
    try:
        process = spawn(meta)
    except OSError as error:
        spawn_error = error
    # From here on the script runs: what takes time to import is imported now.
    meta = replace(
        meta,
        supervisor_pid=os.getpid(),
        supervisor_started=rundir.process_start(os.getpid()),
        script_pid=process.pid if process else None,
    )
    faults = [("socket", socket_error)] if socket_error else []
    try:
        rundir.write_meta(run, meta)
    except OSError as error:
        faults.append(("meta.json", str(error)))
    from tfgpu_tui.supervisor import supervise

    return supervise.supervise(
        supervise.Started(
            run=run,
            meta=meta,
            child=process,
            begun=begun,
            spawn_error=spawn_error,
            listener=listener,
            signals=signals,
            early_signals=early,
            faults=faults,
            status_every_s=status_every_s,
        )
    )


def _note_signals(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Keeps the signals that come before the event loop handles them; it carries them out when it runs."""
    seen: list[signal.Signals] = []
    for number in signals:
        signal.signal(number, lambda received, frame: seen.append(signal.Signals(received)))
    return seen


def _listen(path: Path) -> tuple[socket.socket | None, str | None]:
    """The run's socket; without one (and with the reason) the run goes on, blind to the agent."""
    from tfgpu_tui.supervisor import listening

    try:
        return listening.listen(path), None
    except OSError as error:
        return None, f"no socket at {path}: {error.strerror}"


def main(arguments: list[str]) -> int:
    """`python -m tfgpu_tui.supervisor RUN_FOLDER`."""
    if len(arguments) != 1:
        print("usage: python -m tfgpu_tui.supervisor RUN_FOLDER", file=sys.stderr)
        return 2
    return run_detached(RunDir(Path(arguments[0])))
