"""Starts runs and talks to running ones: what the command line and the screen need of the supervisor, without it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tfgpu_tui import rundir
from tfgpu_tui.keeper.spawn import Order
from tfgpu_tui.rundir import RunDir
from tfgpu_tui.search_path import own_python
from tfgpu_tui.supervisor import child, listening

STAGES = ("batch", "interrupt", "terminate", "kill")
"""How hard to stop, in the order of the escalation: after the current batch, SIGINT, SIGTERM, SIGKILL."""
CONTROL_TIMEOUT_S = 5.0


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
    stop_after: int | None = None
    report_json: str | None = None
    """Where the report is also written when the run ends; a rerun does not overwrite it."""
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
        stop_after=spec.stop_after,
        report_json=spec.report_json,
        columns=spec.columns,
        rows=spec.rows,
    )


def start(spec: LaunchSpec) -> RunDir:
    """Starts a detached keeper, which starts the script in a terminal of its own, then the supervisor; returns at once.

    The keeper leads its own session, so neither a closed terminal nor the end of this process reaches it. It is
    started by the path of its `__main__.py`, not by `-m`: that way the current folder, which is the user's, is not
    where Python looks first for its modules. All that it needs for the script stands in its command line and its
    environment, and the run's socket is passed on: so it starts the script before it imports anything. Raises
    rundir.StateDirError.
    """
    run = create(spec, "pty")
    meta = rundir.read_meta(run)
    main = Path(__file__).parent / "keeper" / "__main__.py"
    try:
        listener = listening.listen(Path(meta.socket))
    except OSError:
        listener = None  # the keeper tries again, and says why
    fd = -1 if listener is None else listener.fileno()
    command = [spec.python, *spec.argv]
    order = Order.words(str(run.path), fd, spec.columns, spec.rows, command)
    try:
        with run.supervisor_log.open("ab") as log:
            subprocess.Popen(
                [*own_python(), "-S", str(main), *order],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.cwd,
                env=Order.environment(os.environ, child.additions(meta, os.environ)),
                pass_fds=[] if listener is None else [fd],
                start_new_session=True,
            )
    except OSError as error:
        raise rundir.StateDirError(f"the supervisor can't be started: {error}") from error
    finally:
        if listener is not None:
            listener.close()
    return run


def rerun_spec(run: RunDir, knobs: dict[str, str]) -> LaunchSpec:
    """The same command with other knobs, as a child of `run`. Raises rundir.RunNotFound."""
    meta = rundir.read_meta(run)
    return LaunchSpec(
        argv=meta.argv,
        cwd=meta.cwd,
        python=meta.python,
        knobs=dict(knobs),
        parent=meta.id,
        interval_s=meta.interval_s,
        stop_after=meta.stop_after,
        columns=meta.columns,
        rows=meta.rows,
    )


def stop(run: RunDir, stage: str = "batch") -> None:
    """Asks a run to stop, beginning with `stage`; harder stages follow by themselves. Raises ControlError."""
    if stage not in STAGES:
        raise ControlError(f"{stage!r} is no way to stop a run: use one of {', '.join(STAGES)}")
    command(run, {"cmd": "stop", "stage": stage})


def resize(run: RunDir, columns: int, rows: int) -> None:
    """Tells the script's terminal how large the viewer's is. Raises ControlError."""
    command(run, {"cmd": "resize", "columns": columns, "rows": rows})


def command(run: RunDir, request: dict[str, Any]) -> None:
    """Sends one command over the run's socket and waits for the answer. Raises ControlError."""
    try:
        meta = rundir.read_meta(run)
    except rundir.RunNotFound as error:
        raise ControlError(str(error)) from error
    if not rundir.is_running(meta):
        raise ControlError(f"{meta.id} is not running")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONTROL_TIMEOUT_S)
            connection.connect(meta.socket)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline() or b"{}")
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ControlError(f"{meta.id} does not answer on {meta.socket}: {reason}") from error
    if answer.get("ok") is not True:
        raise ControlError(answer.get("error") or f"{meta.id} closed the connection without an answer")
