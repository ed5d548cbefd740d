"""One run on disk: its folder, its meta.json, and the list of all runs.

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
from typing import Any, NamedTuple

from tfgpu_tui import files
from tfgpu_tui.journal import JournalReader as JournalReader
from tfgpu_tui.journal import JournalWriter as JournalWriter
from tfgpu_tui.journal import last_event
from tfgpu_tui.sockets import MAX_SOCKET_PATH_BYTES as MAX_SOCKET_PATH_BYTES
from tfgpu_tui.sockets import StateDirError as StateDirError
from tfgpu_tui.sockets import remove_socket as remove_socket
from tfgpu_tui.sockets import same_or_new_socket_path as same_or_new_socket_path
from tfgpu_tui.sockets import socket_path as socket_path

STARTING_S = 30.0
"""A run without a supervisor's pid yet counts as running for so long after it was made."""


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


class Meta(NamedTuple):
    """How a run was started: enough to start it again, and to find its processes."""

    id: str
    argv: list[str]
    """The script and its arguments (`["-m", "pkg", …]` for a module)."""
    cwd: str
    python: str
    mode: str = "pty"
    """`pty` or `headless`."""
    knobs: dict[str, str] = {}
    parent: str | None = None
    socket: str = ""
    supervisor_pid: int | None = None
    supervisor_started: int | None = None
    """Start of the supervisor's process in kernel ticks since boot: tells it from a later process of the same pid."""
    keeper_pid: int | None = None
    """The process that owns the script and its terminal; None for a headless run."""
    keeper_started: int | None = None
    script_pid: int | None = None
    script_started: int | None = None
    started: float = 0.0
    interval_s: float = 0.5
    stop_after: int | None = None
    report_json: str | None = None
    """Where the report is also written when the run ends."""
    columns: int = 80
    rows: int = 24


class RunSummary(NamedTuple):
    """One line of `tfgpu-tui runs`. `ended` is None while it runs, and where it is not known (`lost`)."""

    id: str
    argv: list[str]
    state: str
    """running | ended | lost (the supervisor went away without a last event)."""
    exit_code: int | None
    signal: int | None
    started: float
    ended: float | None
    path: Path


def state_dir() -> Path:
    """Where runs are kept: $TFGPU_TUI_STATE_DIR, else this system's state folder for the user."""
    chosen = os.environ.get("TFGPU_TUI_STATE_DIR")
    if chosen:
        return Path(chosen).absolute()
    import platformdirs  # 5 ms: not needed when the variable is set

    return platformdirs.user_state_path("tfgpu-tui")


def runs_dir() -> Path:
    """The folder that holds the folders of all runs; it need not exist. Raises StateDirError where it may hold what
    another user put there: a rerun would start that."""
    runs = state_dir() / "runs"
    for folder in (runs.parent, runs):
        if not os.path.isdir(folder):
            break
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
    stop_after: int | None = None,
    report_json: str | None = None,
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
            stop_after=stop_after,
            report_json=report_json,
            columns=columns,
            rows=rows,
        )
        run = RunDir(path)
        write_meta(run, meta)
    except OSError as error:
        raise StateDirError(
            f"the state folder {runs} can't be written ({error.strerror}): make it writable, or set "
            "TFGPU_TUI_STATE_DIR to another folder"
        ) from error
    return run


def _script_stem(argv: list[str]) -> str:
    """`/a/b/train.py` -> `train`, `-m pkg.train` -> `train`, with nothing that a path or a shell minds."""
    name = argv[0] if argv else "run"
    if name == "-m" and len(argv) > 1:
        parts = argv[1].split(".")
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
        data = json.loads(run.meta_path.read_text(encoding="utf-8"))
        return Meta(**{key: value for key, value in data.items() if key in Meta._fields})
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunNotFound(f"{run.meta_path} can't be read: {error}") from error
    try:
        with JournalReader(run.journal) as reader:
            first = next(iter(reader.poll(1)), None)
    except OSError as error:
        raise RunNotFound(f"{run.journal} can't be read: {error.strerror}") from error
    from tfgpu_tui import events  # late: see journal.py

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
    )


def find(text: str) -> RunDir:
    """The run meant by an id, a unique beginning of one, `last`, or a path (folder or journal). Raises RunNotFound."""
    if "/" in text or text == ".":
        return _at_path(Path(text))
    runs = _folders()
    if text == "last":
        if not runs:
            raise RunNotFound("there are no runs yet")
        return RunDir(max(runs, key=_started))
    exact = [path for path in runs if path.name == text]
    matches = exact or [path for path in runs if path.name.startswith(text)]
    if len(matches) == 1:
        return RunDir(matches[0])
    if matches:
        names = ", ".join(sorted(path.name for path in matches)[:5])
        raise RunNotFound(f"{text!r} could be any of {len(matches)} runs: {names}")
    if Path(text).exists():
        return _at_path(Path(text))
    raise RunNotFound(f"there is no run {text!r}: `tfgpu-tui runs` lists them")


def _at_path(path: Path) -> RunDir:
    path = path.absolute()
    if path.is_file():
        return RunDir(path.parent, path.name) if path.name != "meta.json" else RunDir(path.parent)
    if path.is_dir():
        run = RunDir(path)
        if run.journal.exists() or run.meta_path.exists():
            return run
        raise RunNotFound(f"{path} is no run's folder: it holds neither journal.jsonl nor meta.json")
    raise RunNotFound(f"there is no run at {path}")


def _folders() -> list[Path]:
    try:
        return [path for path in (state_dir() / "runs").iterdir() if (path / "meta.json").exists()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunNotFound(f"the runs in {state_dir()} can't be listed: {error.strerror}") from error


def _started(path: Path) -> float:
    try:
        return read_meta(RunDir(path)).started
    except RunNotFound:
        return 0.0


def list_runs() -> list[RunSummary]:
    """Every run under the state folder, newest first; a folder whose meta.json is unreadable is left out."""
    found = []
    for path in _folders():
        with contextlib.suppress(RunNotFound):
            found.append(summary(RunDir(path)))
    return sorted(found, key=lambda run: (run.started, run.id), reverse=True)


def summary(run: RunDir) -> RunSummary:
    """What became of a run. Raises RunNotFound."""
    meta = read_meta(run)
    from tfgpu_tui import events  # late: see journal.py

    ended = last_event(run.journal)
    if isinstance(ended, events.RunEnded):
        return RunSummary(run.id, meta.argv, "ended", ended.exit_code, ended.signal, meta.started, ended.t, run.path)
    state = "running" if is_running(meta) else "lost"
    return RunSummary(run.id, meta.argv, state, None, None, meta.started, None, run.path)


def is_running(meta: Meta) -> bool:
    """Whether the run is looked after: by its supervisor, or by the keeper that starts another one (or may still be
    starting the first)."""
    if meta.supervisor_pid is None and meta.keeper_pid is None:
        return 0 <= time.time() - meta.started < STARTING_S
    return _lives(meta.supervisor_pid, meta.supervisor_started) or _lives(meta.keeper_pid, meta.keeper_started)


def script_lives(meta: Meta) -> bool | None:
    """Whether the script's process is still there, watched or not; None where that was never written down."""
    return None if meta.script_pid is None else _lives(meta.script_pid, meta.script_started)


def _lives(pid: int | None, start: int | None) -> bool:
    if pid is None:
        return False
    started = process_start(pid)
    return started is not None and started == start


def process_start(pid: int) -> int | None:
    """When a process started, in kernel ticks since boot (field 22 of /proc/PID/stat, proc(5)); None for none or a
    zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    rest = text[text.rindex(")") + 2 :].split()
    return None if rest[0] in ("Z", "X") else int(rest[19])


def prune(
    keep: int | None = None, older_than_days: float | None = None, total_bytes: int | None = None
) -> list[RunSummary]:
    """Deletes runs, and says which: all but the newest `keep`, those that were started longer ago than so many days,
    and the oldest ones while all together are larger than `total_bytes`. A run that is running, or whose script goes on
    without its monitor, is never deleted; it counts."""
    import shutil

    removed, size, now = [], 0, time.time()
    for index, run in enumerate(list_runs()):
        bytes_here = size_bytes(RunDir(run.path))
        size += bytes_here
        too_many = keep is not None and index >= keep
        too_old = older_than_days is not None and run.started < now - older_than_days * 86400
        too_large = total_bytes is not None and size > total_bytes
        if not (too_many or too_old or too_large) or run.state == "running":
            continue
        meta = read_meta(RunDir(run.path))
        if script_lives(meta) and run.state == "lost":
            continue
        shutil.rmtree(run.path, ignore_errors=True)
        if run.state == "lost" and meta.socket:
            remove_socket(Path(meta.socket))  # nobody was left to do it
        size -= bytes_here
        removed.append(run)
    return removed


def size_bytes(run: RunDir) -> int:
    """What a run takes on the disk."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(run.path):
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def as_json(run: RunSummary) -> dict[str, Any]:
    """The object of `runs --json`; times in ISO 8601, UTC, as in report.json."""
    return {**run._asdict(), "started": _iso(run.started), "ended": _iso(run.ended), "path": str(run.path)}


def _iso(t: float | None) -> str | None:
    from datetime import datetime, timezone

    return None if t is None else datetime.fromtimestamp(t, timezone.utc).isoformat(timespec="milliseconds")
