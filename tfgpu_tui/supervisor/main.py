"""One run from the script's start to its exit status: in the foreground, or beside a keeper that owns the script.

The script is started before anything that the samplers need is imported: the user waits for the first line of the
script, not for the first sample. Its socket listens before that, so an agent finds it from the start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tfgpu_tui.keeper.spawn import reason
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor import child as script
from tfgpu_tui.supervisor import children
from tfgpu_tui.supervisor.relay import Relay

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
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the keeper blocks them all, so that none came too early
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


class _Begun(NamedTuple):
    """A headless run whose script was started, or could not be, before anything else of the monitor is loaded."""

    run: RunDir
    meta: Meta
    relay: Relay
    listener: socket.socket | None
    at: float
    script: script.Child | None
    spawn_error: str | None
    stderr_from: int | None
    faults: list[tuple[str, str]]


def run_foreground(run: RunDir, status_every_s: float | None = None, report: bool = True) -> int:
    """Runs the script with this process's own streams, and returns the exit status for the shell: the script's own,
    or 128 + the signal that ended it. The `report` is on stderr afterwards; `status_every_s` are the seconds between
    status lines there, None for none."""
    begun = _begin(run)
    try:
        if begun.script is not None:
            begun.relay.attach(begun.script.pid, [begun.meta.python, *begun.meta.argv])
            _let_go_of_callers(begun.meta.report_json)
        outcome = _monitor(begun, status_every_s)
        if report:
            from tfgpu_tui.terminal.lines import printable_lines

            _write(printable_lines(outcome.text))
        status = outcome.status
    except BaseException as error:  # a foreign module may do anything; the script's end and status are not ours to lose
        status = _without_monitor(begun, error)
    begun.relay.close()
    return status


def _begin(run: RunDir) -> _Begun:
    relay = Relay()
    meta = rundir.read_meta(run)
    listener, socket_error = _listen(Path(meta.socket))
    at = time.time()
    process: script.Child | None = None
    spawn_error: str | None = None
    stderr_from = script.end_of_stderr_file()
    try:
        process = script.spawn_inherited(meta, relay.ignored)
    except OSError as error:
        spawn_error = reason(error, meta.python)
    faults = [("socket", socket_error)] if socket_error else []
    return _Begun(run, meta, relay, listener, at, process, spawn_error, stderr_from, faults)


def _let_go_of_callers(report_json: str | None) -> None:
    """The script has its caller's descriptors: a pipe must end when the script closes it, and a limit on the time of a
    processor is the script's, too. Kept are stderr and what the report goes to."""
    import resource

    from tfgpu_tui.supervisor import launch
    from tfgpu_tui.supervisor.report_file import descriptor_of

    kept = descriptor_of(report_json) if report_json is not None else None
    for number in launch.callers_descriptors():
        if number != kept:
            os.close(number)
    null = os.open(os.devnull, os.O_RDWR)
    for number in {0, 1} - {kept}:
        os.dup2(null, number, inheritable=False)
    os.close(null)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _monitor(begun: _Begun, status_every_s: float | None) -> Outcome:
    """The script runs: what takes time to import is imported now."""
    children.adopt_orphans()
    meta = begun.meta._replace(
        supervisor_pid=os.getpid(),
        supervisor_started=rundir.process_start(os.getpid()),
        script_pid=begun.script.pid if begun.script else None,
        script_started=rundir.process_start(begun.script.pid) if begun.script else None,
    )
    try:
        rundir.write_meta(begun.run, meta)
    except OSError as error:
        begun.faults.append(("meta.json", str(error)))
    from tfgpu_tui.supervisor import supervise

    return supervise.supervise(
        supervise.Started(
            run=begun.run,
            meta=meta,
            script=begun.script,
            kept=None,
            begun=begun.at,
            clock_base=None,
            spawn_error=begun.spawn_error,
            listener=begun.listener,
            signals={},
            early_signals=[],
            faults=begun.faults,
            status_every_s=status_every_s,
            stderr_from=begun.stderr_from,
            relay=begun.relay,
        )
    )


def _without_monitor(begun: _Begun, error: BaseException) -> int:
    """Says that the monitor is no more, waits for the script's end, and returns its exit status for a shell."""
    if begun.listener is not None:
        begun.listener.close()  # there may be no other descriptor left
        rundir.remove_socket(Path(begun.meta.socket))
    ended = begun.script is None or begun.script.status() is not None
    what = "there is no report" if ended else "the script goes on, without a report"
    why = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode()
    _write(f"tfgpu-tui: the monitor failed ({why.splitlines()[0]}): {what}")
    with contextlib.suppress(Exception), begun.run.supervisor_log.open("a") as log:
        import traceback

        log.write("".join(traceback.format_exception(error)))
    if begun.script is None:
        return script.CANNOT_RUN
    if not ended:
        children.wait_for(begun.script.pid)
    code, number = begun.script.status() or (1, None)
    return code if code is not None else 128 + (number or 0)


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more; the report is in the run's folder
        if sys.stderr is not None:  # closed by the caller: print would take stdout, which is the script's
            print(text, file=sys.stderr, flush=True)


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
