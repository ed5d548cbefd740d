"""One run from the script's start to its exit status: in the foreground, or beside a keeper that owns the script.

The script is started before anything that the samplers need is imported: the user waits for the first line of the
script, not for the first sample. Its socket listens before that, so an agent finds it from the start.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tfgpu_tui import rundir
from tfgpu_tui.keeper.spawn import reason
from tfgpu_tui.rundir import Meta, RunDir
from tfgpu_tui.supervisor import child as script
from tfgpu_tui.supervisor import children

if TYPE_CHECKING:
    from tfgpu_tui.supervisor.ending import Outcome


def run_kept(run: RunDir, channel: socket.socket, listener: socket.socket | None, terminal: int | None) -> int:
    """The supervisor's process under a screen: the keeper has started the script, and starts another one of these where
    this one is killed. Returns 0 once the run is concluded."""
    from tfgpu_tui.supervisor.kept import KeptScript, hold_signals  # late: a headless run has no keeper

    kept = KeptScript(channel, terminal)
    hold_signals()
    signals: dict[signal.Signals, str] = {signal.SIGTERM: "stop"}
    early = _note_signals(signals)
    told = kept.told
    meta = rundir.read_meta(run)._replace(
        supervisor_pid=os.getpid(),
        supervisor_started=rundir.process_start(os.getpid()),
        keeper_pid=told.keeper,
        keeper_started=rundir.process_start(told.keeper),
    )
    faults = [("socket", told.socket_error)] if told.socket_error else []
    try:
        rundir.write_meta(run, meta)
    except OSError as error:
        faults.append(("meta.json", str(error)))
    from tfgpu_tui.supervisor import supervise

    supervise.supervise(
        supervise.Started(
            run=run,
            meta=meta,
            script=kept if told.pid is not None else None,
            kept=kept,
            begun=told.begun or time.time(),
            clock_base=told.clock_base,
            spawn_error=told.spawn_error,
            listener=listener,
            signals=signals,
            early_signals=early,
            faults=faults,
            status_every_s=None,
        )
    )
    kept.let_go()
    return 0


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
    outcome = _supervise(run, rundir.read_meta(run), forwarded, status_every_s)
    from tfgpu_tui.terminal import printable_lines

    try:
        if sys.stderr is not None:  # closed by the caller: print would take stdout, which is the script's
            print(printable_lines(outcome.text), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads stderr any more; the report is in the run's folder
    return outcome.status


def _do_nothing(number: int, frame: object) -> None:
    pass


def _supervise(
    run: RunDir,
    meta: Meta,
    signals: dict[signal.Signals, str],
    status_every_s: float | None = None,
) -> Outcome:
    listener, socket_error = _listen(Path(meta.socket))
    begun = time.time()
    process: script.Child | None = None
    spawn_error: str | None = None
    early = _note_signals(signals)
    stderr_from = script.end_of_stderr_file()
    try:
        process = script.spawn_inherited(meta)
    except OSError as error:
        spawn_error = reason(error, meta.python)
    children.adopt_orphans()
    # From here on the script runs: what takes time to import is imported now.
    meta = meta._replace(
        supervisor_pid=os.getpid(),
        supervisor_started=rundir.process_start(os.getpid()),
        script_pid=process.pid if process else None,
        script_started=rundir.process_start(process.pid) if process else None,
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
            script=process,
            kept=None,
            begun=begun,
            clock_base=None,
            spawn_error=spawn_error,
            listener=listener,
            signals=signals,
            early_signals=early,
            faults=faults,
            status_every_s=status_every_s,
            stderr_from=stderr_from,
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
    """`python …/supervisor/__main__.py RUN_FOLDER CHANNEL LISTENER TERMINAL`, where the last three are descriptors that
    the keeper passes on; -1 where there is none."""
    if len(arguments) != 4:
        print("usage: started by the keeper (tfgpu_tui/keeper/keep.py)", file=sys.stderr)
        return 2
    channel, listener, terminal = map(int, arguments[1:])
    for fd in (channel, listener, terminal):
        if fd >= 0:
            os.set_inheritable(fd, False)  # the NVML child has no business with them
    return run_kept(
        RunDir(Path(arguments[0])),
        socket.socket(fileno=channel),
        socket.socket(fileno=listener) if listener >= 0 else None,
        terminal if terminal >= 0 else None,
    )
