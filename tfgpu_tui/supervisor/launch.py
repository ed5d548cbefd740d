"""Starts runs and talks to running ones: what the command line and the screen need of the supervisor, without it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfgpu_tui.keeper import spawn
from tfgpu_tui.keeper.spawn import Order
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.runs.search_path import own_python
from tfgpu_tui.supervisor import child, listening

STAGES = ("batch", "interrupt", "terminate", "kill")
"""How hard to stop, in the order of the escalation: after the current batch, SIGINT, SIGTERM, SIGKILL."""
CONTROL_TIMEOUT_S = 5.0
_VERBS = {"stop": "stop"}
"""Command -> the verb that has the same done on another host; `attach`, and a key there, for all others."""


class ControlError(Exception):
    """A command did not reach the run, or the run refused it; the text is a whole sentence for a person."""


class LaunchSpec(NamedTuple):
    """One run to be started: what is run by which interpreter, where, and with which settings."""

    argv: list[str]
    """The script and its arguments (`["-m", "pkg", …]` for a module)."""
    cwd: str
    python: str
    knobs: dict[str, str] = {}
    parent: str | None = None
    """Id of the run that this one reruns."""
    interval_s: float = 0.5
    stall_after_s: float = 60.0
    stop_after: int | None = None
    report_json: str | None = None
    """Where the report is also written when the run ends; a rerun does not overwrite it."""
    metrics: str | None = None
    """Where its metrics are told to Prometheus: HOST:PORT, unix:PATH or FILE.prom."""
    on_finding: str | None = None
    """A shell's command that runs once for each new finding."""
    on_finding_severity: str = "warning"
    trial: dict[str, str] | None = None
    """See `rundir.Meta`; a rerun of a trial is none."""
    columns: int = 80
    rows: int = 24


def create(spec: LaunchSpec, mode: str) -> RunDir:
    """The run's folder with its meta.json; nothing is started. Raises rundir.StateDirError."""
    return rundir.create(
        spec.argv,
        cwd=spec.cwd,
        python=spec.python,
        mode=mode,
        knobs=spec.knobs,
        parent=spec.parent,
        interval_s=spec.interval_s,
        stall_after_s=spec.stall_after_s,
        stop_after=spec.stop_after,
        report_json=spec.report_json,
        metrics=spec.metrics,
        on_finding=spec.on_finding,
        on_finding_severity=spec.on_finding_severity,
        trial=spec.trial,
        columns=spec.columns,
        rows=spec.rows,
    )


def start(spec: LaunchSpec, descriptors: Sequence[int] = ()) -> RunDir:
    """A new run, detached; see `begin`. Raises rundir.StateDirError."""
    run = create(spec, "pty")
    begin(run, descriptors)
    return run


def begin(run: RunDir, descriptors: Sequence[int] = ()) -> None:
    """Starts a detached keeper, which starts the script in a terminal of its own, then the supervisor; returns at once.

    The keeper leads its own session, so neither a closed terminal nor the end of this process reaches it. It is
    started by the path of its `__main__.py`, not by `-m`: that way the current folder, which is the user's, is not
    where Python looks first for its modules. All that it needs for the script stands in its command line and its
    environment, and the run's socket is passed on: so it starts the script before it imports anything. It is born with
    every signal blocked: a Ctrl+C in this terminal reaches it, too, until it has that session. `descriptors` are open
    ones of this process that the script gets, too. Raises rundir.StateDirError, rundir.RunNotFound; then the run's
    folder is gone again.
    """
    meta = rundir.read_meta(run)
    keeper = [*own_python(), "-S", str(Path(__file__).parents[1] / "keeper" / "__main__.py")]
    command = [meta.python, *meta.argv]
    try:
        listener = listening.listen(Path(meta.socket))
    except OSError:
        listener = None  # the keeper tries again, and says why
    fd = -1 if listener is None else listener.fileno()
    try:
        environment = Order.environment(os.environ, child.additions(meta, os.environ))
        with run.supervisor_log.open("ab") as log, _all_blocked() as blocked:
            subprocess.Popen(
                [*keeper, *Order.words(str(run.path), fd, meta.columns, meta.rows, blocked, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=meta.cwd,
                env=environment,
                pass_fds=[*descriptors, *([] if listener is None else [fd])],
                start_new_session=True,
            )
    except OSError as error:
        discard(run)
        raise rundir.StateDirError(f"the supervisor can't be started: {error}") from error
    finally:
        if listener is not None:
            listener.close()


@contextlib.contextmanager
def _all_blocked() -> Iterator[set[int]]:
    """No signal is delivered to this thread, nor to what it starts; the signals that were blocked before."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield set(blocked)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def discard(run: RunDir) -> None:
    """Removes the folder and the socket of a run that could not be started. Raises rundir.RunNotFound."""
    import shutil  # late: 3 ms on the way to the script's first line

    rundir.remove_socket(Path(rundir.read_meta(run).socket))
    shutil.rmtree(run.path, ignore_errors=True)


def callers_descriptors() -> list[int]:
    """Open descriptors above stderr that this process was started with, such as a shell's `<(…)`: the script would have
    them without us. Python's own are never inheritable."""
    return spawn.inheritable()


def was_begun(run: RunDir) -> bool:
    """Whether a keeper has (or had) this run: it writes that down, and before that it holds the run's socket, which was
    there first. Raises rundir.RunNotFound."""
    meta = rundir.read_meta(run)
    if meta.keeper_pid is not None or meta.supervisor_pid is not None:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONTROL_TIMEOUT_S)
        return connection.connect_ex(meta.socket) == 0


def spec_again(meta: Meta, knobs: dict[str, str]) -> LaunchSpec:
    """The same command as that run's with other knobs, as its child."""
    return LaunchSpec(
        argv=meta.argv,
        cwd=meta.cwd,
        python=meta.python,
        knobs=dict(knobs),
        parent=meta.id,
        interval_s=meta.interval_s,
        stall_after_s=meta.stall_after_s,
        stop_after=meta.stop_after,
        metrics=meta.metrics,
        on_finding=meta.on_finding,
        on_finding_severity=meta.on_finding_severity,
        columns=meta.columns,
        rows=meta.rows,
    )


def stop(run: RunDir, stage: str = "batch") -> bool:
    """Asks a run to stop, beginning with `stage`; harder stages follow by themselves. True where that took a rerun back
    that was on its way. Raises ControlError."""
    if stage not in STAGES:
        raise ControlError(f"{stage!r} is no way to stop a run: use one of {', '.join(STAGES)}")
    return command(run, {"cmd": "stop", "stage": stage}).get("taken_back") is True


def rerun(run: RunDir, knobs: dict[str, str]) -> None:
    """Asks a run to stop after its batch, and its supervisor to start it again, with these knobs, when the script has
    ended. Raises ControlError."""
    command(run, {"cmd": "rerun", "knobs": knobs, "stage": "batch"})


def types_unseen(run: RunDir) -> bool:
    """Whether the script's terminal does not show what is typed, as at a question for a password. Raises
    ControlError."""
    return command(run, {"cmd": "terminal"}).get("unseen") is True


def resize(run: RunDir, columns: int, rows: int) -> None:
    """Tells the script's terminal how large the viewer's is. Raises ControlError."""
    command(run, {"cmd": "resize", "columns": columns, "rows": rows})


def _has_ended(run: RunDir) -> bool:
    with contextlib.suppress(rundir.RunNotFound):
        return listing.summary(run).state == "ended"
    return False


def command(run: RunDir, request: dict[str, Any]) -> dict[str, Any]:
    """Sends one command over the run's socket, and returns the answer. Raises ControlError."""
    try:
        meta = rundir.read_meta(run)
    except rundir.RunNotFound as error:
        raise ControlError(str(error)) from error
    if not rundir.is_running(meta):
        if away := listing.away(run, _VERBS.get(str(request.get("cmd")), "attach")):
            raise ControlError(away)
        found = listing.summary(run)
        raise ControlError(f"{meta.id} can't be reached: {found.note}" if found.note else f"{meta.id} is not running")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONTROL_TIMEOUT_S)
            connection.connect(meta.socket)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline() or b"{}")
    except (OSError, ValueError) as error:
        if _has_ended(run):  # its supervisor is about to go
            raise ControlError(f"{meta.id} is not running") from error
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ControlError(f"{meta.id} does not answer on {meta.socket}: {reason}") from error
    if answer.get("ok") is not True:
        raise ControlError(answer.get("error") or f"{meta.id} closed the connection without an answer")
    return dict(answer)
