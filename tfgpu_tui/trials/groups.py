"""Experiments on disk: a file each, beside the folder of the runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tfgpu_tui.core import python_options
from tfgpu_tui.runs import files, rundir
from tfgpu_tui.trials import records
from tfgpu_tui.trials.records import Group

LARGEST_BYTES = 16 << 20


class GroupNotFound(Exception):
    """No such experiment; the text is a whole sentence for a person."""


def folder() -> Path:
    """Where they are kept. Raises rundir.StateDirError where another user may write there."""
    rundir.runs_dir()
    return rundir.state_dir() / "trials"


def new_id(argv: list[str], now: float) -> str:
    """`try-train-20261127-104502`, which no other experiment has. Raises rundir.StateDirError."""
    name = Path(python_options.script_name(argv)).stem
    stem = "".join(c if c.isalnum() else "-" for c in name)[:40].strip("-") or "script"
    found = f"try-{stem}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    number, free = 1, found
    while (folder() / f"{free}.json").exists():
        number += 1
        free = f"{found}-{number}"
    return free


def save(group: Group) -> None:
    """Replaces its file in one step. Raises rundir.StateDirError."""
    path = folder() / f"{group.id}.json"
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
    path = folder() / f"{fitting[0]}.json"
    try:
        return records.from_json(json.loads(files.read_bounded(path, LARGEST_BYTES)))
    except OSError as error:
        raise GroupNotFound(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise GroupNotFound(f"{path} can't be read: {error}") from error
