"""Experiments on disk: a file each, beside the folder of the runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tfgpu_tui.core import python_options
from tfgpu_tui.runs import files, liveness, meta, rundir
from tfgpu_tui.trials import records
from tfgpu_tui.trials.records import Conductor, Group

LARGEST_BYTES = 16 << 20
STARTING_S = 30.0
"""An experiment without a conductor yet counts as going on for so long after it was begun."""


class GroupNotFound(Exception):
    """No such experiment; the text is a whole sentence for a person."""


def folder() -> Path:
    """Where they are kept. Raises rundir.StateDirError where another user may write there."""
    rundir.runs_dir()
    return rundir.state_dir() / "trials"


def path_of(group_id: str) -> Path:
    """Its file. Raises rundir.StateDirError."""
    return folder() / f"{group_id}.json"


def log_of(group_id: str) -> Path:
    """What a conductor without a terminal prints: nothing, unless something is wrong. Raises rundir.StateDirError."""
    return folder() / f"{group_id}.log"


def new_id(argv: list[str], now: float) -> str:
    """`try-train-20261127-104502`, which no other experiment has. Raises rundir.StateDirError."""
    name = Path(python_options.script_name(argv)).stem
    stem = "".join(c if c.isalnum() else "-" for c in name)[:40].strip("-") or "script"
    found = f"try-{stem}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    number, free = 1, found
    while path_of(free).exists():
        number += 1
        free = f"{found}-{number}"
    return free


def new(argv: list[str], cwd: str, python: str, **more: Any) -> Group:
    """A new experiment with a script; `more` are fields of Group. Raises rundir.StateDirError."""
    now = time.time()
    return Group(id=new_id(argv, now), argv=argv, cwd=cwd, python=python, begun=now, **more)


def save(group: Group) -> None:
    """Replaces its file in one step. Raises rundir.StateDirError."""
    path = path_of(group.id)
    try:
        files.make_private(path.parent)
        files.replace(path, json.dumps(records.to_json(group), indent=1, allow_nan=False).encode())
    except OSError as error:
        raise rundir.StateDirError(f"the experiment can't be kept in {path.parent}: {error.strerror}") from error


def ids() -> list[str]:
    """Of all experiments, the newest first. Raises rundir.StateDirError."""
    found = [path for path in folder().glob("try-*.json") if files.is_own_file(path)]
    return [path.stem for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def find(text: str) -> Group:
    """The experiment of that id, of the only one that begins so, or the newest for `last`. Raises GroupNotFound,
    rundir.StateDirError."""
    known = ids()
    fitting = (
        known[:1] if text == "last" else [i for i in known if i == text] or [i for i in known if i.startswith(text)]
    )
    if not text or not fitting:
        raise GroupNotFound(f"there is no experiment {text:.80}")
    if len(fitting) > 1:
        raise GroupNotFound(f"{text:.80} may be {', '.join(fitting[:3])}")
    path = path_of(fitting[0])
    try:
        return records.from_json(json.loads(files.read_bounded(path, LARGEST_BYTES)))
    except OSError as error:
        raise GroupNotFound(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise GroupNotFound(f"{path} can't be read: {error}") from error


# -- whether it goes on


def me() -> Conductor:
    """This process."""
    here = meta.here()
    return Conductor(os.getpid(), liveness.process_start(os.getpid()), here.boot_id, here.pid_namespace)


def goes_on(group: Group) -> bool:
    """Whether its conductor lives, as far as that can be seen from here."""
    if group.ended is not None:
        return False
    told, here = group.conductor, meta.here()
    if told is None:
        return group.until is not None and 0 <= time.time() - (group.until - group.budget_s) < STARTING_S
    if (told.boot_id, told.pid_namespace) != (here.boot_id, here.pid_namespace):
        return False
    return told.started is not None and liveness.process_start(told.pid) == told.started


def stop(group: Group) -> bool:
    """Asks it to end its trial, and to tell what is known; a second time to do that without patience. False where it
    does not go on, or not here."""
    if not goes_on(group) or group.conductor is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(group.conductor.pid, signal.SIGINT)
        return True
    return False


def prune() -> list[str]:
    """Deletes experiments all of whose runs are gone, and says which. Raises rundir.StateDirError,
    rundir.RunNotFound."""
    alive = {told.trial.get("group") for _, told in rundir.metas() if told.trial is not None}
    runs = {run.id for run in rundir.all_runs()}  # of some of which nothing can be read
    gone = []
    for group_id in ids():
        with contextlib.suppress(GroupNotFound, OSError):
            found = find(group_id)
            if group_id not in alive and not runs & {r.run for r in found.records} and not goes_on(found):
                path_of(group_id).unlink()
                log_of(group_id).unlink(missing_ok=True)
                gone.append(group_id)
    return gone
