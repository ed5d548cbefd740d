"""One run on disk: its folder, its meta.json, and how it is found. What became of it is in `listing.py`.

A run's folder holds `meta.json` (how it was started), `journal.jsonl` (every event), `output.log` (the script's raw
terminal output), `report.json` (written when the run ends) and `supervisor.log`. Reading and writing the journal itself
is in `journal.py`, and is offered here too.

This is on the way to the script's first line: its records are tuples, since `dataclasses` takes 10 ms to import, and
what only some verbs need is imported where they need it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from tfgpu_tui.core import python_options
from tfgpu_tui.runs import files, folders
from tfgpu_tui.runs import meta as meta_file
from tfgpu_tui.runs.journal import JournalReader as JournalReader
from tfgpu_tui.runs.journal import JournalWriter as JournalWriter
from tfgpu_tui.runs.liveness import is_running as is_running
from tfgpu_tui.runs.liveness import process_start as process_start
from tfgpu_tui.runs.liveness import script_lives as script_lives
from tfgpu_tui.runs.meta import Meta as Meta
from tfgpu_tui.runs.sockets import MAX_SOCKET_PATH_BYTES as MAX_SOCKET_PATH_BYTES
from tfgpu_tui.runs.sockets import StateDirError as StateDirError
from tfgpu_tui.runs.sockets import remove_socket as remove_socket
from tfgpu_tui.runs.sockets import same_or_new_socket_path as same_or_new_socket_path
from tfgpu_tui.runs.sockets import socket_path as socket_path

CLOCKS_DIFFER_S = 60.0
"""A run that was started later than now by more than that has no time that means anything."""


class RunNotFound(Exception):
    """No such run; the text is a whole sentence for a person."""


class RunDir(NamedTuple):
    """The folder of one run. `journal_name` differs only for a recorded journal opened by its path."""

    path: Path
    journal_name: str = "journal.jsonl"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def journal(self) -> Path:
        return self.path / self.journal_name

    @property
    def output_log(self) -> Path:
        return self.path / "output.log"

    @property
    def meta_path(self) -> Path:
        return self.path / "meta.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.json"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"


def state_dir() -> Path:
    """Where runs are kept: $TFGPU_TUI_STATE_DIR, else this system's state folder for the user. Raises StateDirError for
    a user without a home."""
    chosen = os.environ.get("TFGPU_TUI_STATE_DIR")
    if chosen:
        return Path(chosen).absolute()
    base = folders.of_user("XDG_STATE_HOME", ".local/state")
    if base is None:
        raise StateDirError("there is no home folder to keep runs in: set HOME, or TFGPU_TUI_STATE_DIR to a folder")
    return base / "tfgpu-tui"


def runs_dir() -> Path:
    """The folder that holds the folders of all runs; it need not exist. Raises StateDirError where it may hold what
    another user put there: a rerun would start that."""
    runs = state_dir() / "runs"
    for folder in (runs.parent, runs):
        if not os.path.isdir(folder):
            break
        if not os.environ.get("TFGPU_TUI_STATE_DIR"):  # nobody shares the usual place; an old umask left it open
            files.close_to_others(folder)
        why = files.distrust(Path(os.path.realpath(folder)))  # it may be this user's link to a larger disk
        if why is not None:
            raise StateDirError(
                f"the state folder {folder} is not used: {why}. Make it yours alone (chmod 700), or set "
                "TFGPU_TUI_STATE_DIR to another folder"
            )
    return runs


def is_ours(run: RunDir) -> bool:
    """Whether a run was recorded by this user, in the place for it, where nobody else can have changed it: what its
    meta.json says may be started again, and its folder deleted."""
    try:
        trusted = run.path.parent == runs_dir() and files.distrust(run.path) is None
    except (OSError, StateDirError):
        return False
    return trusted and files.is_own_file(run.meta_path)


def create(
    argv: list[str],
    *,
    cwd: str,
    python: str,
    mode: str = "pty",
    knobs: dict[str, str] | None = None,
    parent: str | None = None,
    interval_s: float = 0.5,
    stall_after_s: float = 60.0,
    stop_after: int | None = None,
    report_json: str | None = None,
    metrics: str | None = None,
    on_finding: str | None = None,
    on_finding_severity: str = "warning",
    trial: dict[str, str] | None = None,
    columns: int = 80,
    rows: int = 24,
) -> RunDir:
    """Makes the folder of a new run (mode 0700) with its meta.json. Raises StateDirError."""
    runs, now = runs_dir(), time.time()
    stem = f"{_script_stem(argv)}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    try:
        files.make_private(runs)
        path = _make_unique(runs, stem)
        meta = Meta(
            id=path.name,
            argv=list(argv),
            cwd=cwd,
            python=python,
            mode=mode,
            knobs=dict(knobs or {}),
            parent=parent,
            socket=str(socket_path()),
            started=now,
            interval_s=interval_s,
            stall_after_s=stall_after_s,
            stop_after=stop_after,
            report_json=report_json,
            metrics=metrics,
            on_finding=on_finding,
            on_finding_severity=on_finding_severity,
            trial=trial,
            columns=columns,
            rows=rows,
            **meta_file.here()._asdict(),
        )
        run = RunDir(path)
        try:
            write_meta(run, meta)
        except OSError:
            path.rmdir()
            raise
    except OSError as error:
        raise StateDirError(
            f"the state folder {runs} can't be written ({error.strerror}): make it writable, or set "
            "TFGPU_TUI_STATE_DIR to another folder"
        ) from error
    return run


def _script_stem(argv: list[str]) -> str:
    """`/a/b/train.py` -> `train`, `-m pkg.train` -> `train`, with nothing that a path or a shell minds."""
    name = python_options.script_name(argv)
    if name == "-c":
        name = "command"
    elif name.startswith("-m "):
        parts = name[3:].split(".")
        name = parts[-2] if parts[-1] == "__main__" and len(parts) > 1 else parts[-1]
    else:
        name = Path(name).stem
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40] or "run"


def _make_unique(runs: Path, stem: str) -> Path:
    for number in range(1, 1000):
        path = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise OSError(17, "too many runs within one second")


def write_meta(run: RunDir, meta: Meta) -> None:
    """Replaces meta.json in one step, so that a reader never sees half of it."""
    files.replace(run.meta_path, json.dumps(meta._asdict(), indent=1).encode())


def read_meta(run: RunDir) -> Meta:
    """A run's meta.json; for a journal without one (a recording), what its first event says. Raises RunNotFound."""
    try:
        return meta_file.parse(files.read_bounded(run.meta_path, meta_file.LARGEST_BYTES))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunNotFound(f"{run.meta_path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise RunNotFound(f"{run.meta_path} can't be read: {error}") from error
    return _meta_of_recording(run)


def _meta_of_recording(run: RunDir) -> Meta:
    try:
        with JournalReader(run.journal) as reader:
            first = next(iter(reader.poll(1)), None)
    except OSError as error:
        raise RunNotFound(f"{run.journal} can't be read: {error.strerror}") from error
    from tfgpu_tui.core import events  # late: see journal.py

    if not isinstance(first, events.RunStarted):
        raise RunNotFound(f"{run.path} is no run: it has neither a meta.json nor a journal that begins with a run")
    return Meta(
        id=first.id,
        argv=first.argv,
        cwd=first.cwd,
        python=first.python,
        mode=first.mode,
        knobs=first.knobs,
        parent=first.parent,
        started=first.t,
        interval_s=first.interval_s,
        stall_after_s=first.stall_after_s,
    )


def find(text: str) -> RunDir:
    """The run meant by an id, a unique beginning of one, `last`, or a path (folder or journal). Raises RunNotFound."""
    if "/" in text or text == ".":
        return _at_path(Path(text))
    runs = _folders()
    if text == "last":
        if not runs:
            raise RunNotFound("there are no runs yet")
        return RunDir(max(runs, key=_age_rank))
    exact = [path for path in runs if path.name == text]
    matches = exact or [path for path in runs if path.name.startswith(text)]
    if len(matches) == 1:
        return RunDir(matches[0])
    if matches:
        names = ", ".join(sorted(path.name for path in matches)[:5])
        raise RunNotFound(f"{text!r} could be any of {len(matches)} runs: {names}")
    if os.path.exists(text):
        return _at_path(Path(text))
    raise RunNotFound(f"there is no run {text!r}: `tfgpu-tui runs` lists them")


def _at_path(path: Path) -> RunDir:
    path = Path(os.path.abspath(path))
    if os.path.isfile(path):
        return RunDir(path.parent, path.name) if path.name != "meta.json" else RunDir(path.parent)
    if os.path.isdir(path):
        if _holds_a_run(path):
            return RunDir(path)
        raise RunNotFound(f"{path} is no run's folder: it holds neither journal.jsonl nor meta.json")
    raise RunNotFound(f"there is no run at {path}")


def _holds_a_run(folder: Path) -> bool:
    return os.path.lexists(folder / "meta.json") or os.path.lexists(folder / "journal.jsonl")


def _folders() -> list[Path]:
    runs = runs_dir()
    try:
        return [path for path in runs.iterdir() if _holds_a_run(path)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunNotFound(f"the runs in {state_dir()} can't be listed: {error.strerror}") from error


def all_runs() -> list[RunDir]:
    """Every run under the state folder, in no order; nothing of them is read. Raises RunNotFound, StateDirError."""
    return [RunDir(path) for path in _folders()]


def rank(started: float, is_broken: bool = False) -> tuple[bool, bool, float]:
    """Orders runs by age, the newest last. A time that is still to come tells nothing of the age: such a run comes
    before all others, and takes no other's place; so does a broken one."""
    return not is_broken, started <= time.time() + CLOCKS_DIFFER_S, started


def _age_rank(path: Path) -> tuple[bool, bool, float]:
    try:
        return rank(read_meta(RunDir(path)).started)
    except RunNotFound:
        return rank(0.0, is_broken=True)


def metas() -> list[tuple[RunDir, Meta]]:
    """Every run under the state folder with how it was started, newest first; journals are not read."""
    found = []
    for path in _folders():
        with contextlib.suppress(RunNotFound):
            found.append((RunDir(path), read_meta(RunDir(path))))
    return sorted(found, key=lambda pair: (pair[1].started, pair[0].id), reverse=True)


def in_own_folder(run: RunDir) -> tuple[bool, str]:
    """Whether a run's folder is a real one of this user that nobody else can write to; if not, why, in words."""
    try:
        why = files.distrust(run.path)
    except OSError as error:
        why = f"it can't be read: {error.strerror}"
    return why is None, why or ""


def last_written(*paths: Path) -> float:
    """When one of them was written last, unix seconds; 0 where none is there."""
    newest = 0.0
    for path in paths:
        with contextlib.suppress(OSError):
            newest = max(newest, path.lstat().st_mtime)
    return newest


def size_bytes(run: RunDir) -> int:
    """What a run takes on the disk."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(run.path):
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
