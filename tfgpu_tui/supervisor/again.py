"""Runs a run's command again: whether that can work, and one rerun only, however many ask for it at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tfgpu_tui.core.python_options import without_options
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor import launch

JUST_NOW_S = 2.0
"""Two screens that ask for a rerun within so short a time mean the same one."""
CLAIM_S = 5.0
"""For another process to start its one."""


def check(spec: launch.LaunchSpec) -> None:
    """Looks whether a command can be started again, before the run that has it is stopped for that. Raises
    launch.ControlError."""
    for passed in re.finditer(r"/(?:dev|proc/self)/fd/(\d+)", " ".join(spec.argv)):
        if int(passed[1]) > 2:
            raise launch.ControlError(
                f"a rerun can't have {passed[0]}: the shell made it for one start only; give the script a file instead"
            )
    if not os.path.isdir(spec.cwd):
        raise launch.ControlError(f"the folder {spec.cwd} is gone: this script can't be started there again")
    if shutil.which(spec.python) is None:
        raise launch.ControlError(f"{spec.python} can't be run any more: this script can't be started again")
    what_runs = without_options(spec.argv)[0]
    script = Path(spec.cwd, what_runs)
    if what_runs not in ("-m", "-c") and not script.exists():
        raise launch.ControlError(f"{script} is gone: it can't be started again")


class Again(NamedTuple):
    """A rerun of a run that is over."""

    run: RunDir
    new: bool
    """False: somebody else had started it."""


def shell_command(meta: Meta) -> str:
    """What a rerun of that run would start, and where, as a shell would be told it."""
    return f"cd {shlex.quote(meta.cwd)} && {shlex.join([meta.python, *meta.argv])}"


def start(run: RunDir, knobs: dict[str, str], confirmed: str | None = None) -> Again:
    """A rerun of a run that is over; one that goes on, or was started just now by somebody else, is that rerun.
    `confirmed` is the `shell_command` that somebody said yes to, where they were asked. Raises launch.ControlError,
    rundir.RunNotFound, rundir.StateDirError."""
    since = time.time() - JUST_NOW_S
    with _claimed(run):
        meta = rundir.read_meta(run)
        if confirmed is not None and shell_command(meta) != confirmed:
            raise launch.ControlError(f"{run.meta_path} was changed while you were asked: nothing was run")
        if rundir.script_lives(meta):
            raise launch.ControlError(
                f"its script goes on without a monitor, as process {meta.script_pid}: end that first"
            )
        for other, of_other in rundir.metas():
            if of_other.parent == meta.id and (rundir.is_running(of_other) or of_other.started >= since):
                if not launch.was_begun(other):  # its supervisor was killed just before
                    launch.begin(other)
                return Again(other, new=False)
        spec = launch.spec_again(meta, knobs)
        if confirmed is not None:
            spec = spec._replace(on_finding=None, metrics=None)  # what a file that is not this user's may name
        check(spec)
        return Again(launch.start(spec), new=True)


@contextlib.contextmanager
def _claimed(run: RunDir) -> Iterator[None]:
    """One process at a time; a lock on the folder itself leaves no file behind. Raises launch.ControlError."""
    try:
        folder = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise launch.ControlError(f"{run.path} can't be opened: {error.strerror}") from error
    deadline = time.monotonic() + CLAIM_S
    try:
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise launch.ControlError(f"another screen is starting a rerun of {run.id}") from None
                time.sleep(0.02)
                continue
            except OSError:
                pass  # a file system without locks
            break
        yield
    finally:
        os.close(folder)
