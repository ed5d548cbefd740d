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

from tfgpu_tui.core import python_options
from tfgpu_tui.runs import alive, files, folders, liveness
from tfgpu_tui.runs import meta as meta_file
from tfgpu_tui.runs.journal import JournalReader as JournalReader
from tfgpu_tui.runs.journal import JournalWriter as JournalWriter
from tfgpu_tui.runs.journal import last_event
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


class RunSummary(NamedTuple):
    """One line of `tfgpu-tui runs`. `ended` is None while it runs, and where it is not known (`lost`)."""

    id: str
    argv: list[str]
    state: str
    """running | ended | lost (the supervisor went away without a last event) | elsewhere (its processes can't be seen
    from here) | unknown (where it was started is not known) | broken (its meta.json can't be read)."""
    exit_code: int | None
    signal: int | None
    started: float
    """Of a broken run, when its folder was changed last."""
    ended: float | None
    path: Path
    note: str = ""
    """Why nothing better is known, in words."""
    ours: bool = True
    """Whether the folder is a real one of this user that nobody else can write to."""
    stopped: str | None = None
    """Why it was stopped, where that is how it ended."""
    ending: str | None = None
    """How it ended, in words."""
    knobs: tuple[str, ...] = ()
    """Its settings, `memory_growth=on`."""
    host: str = ""
    """Where it was started; '' where that is not known."""
    silent_s: float | None = None
    """Of one that is elsewhere: seconds since something of it was written, by the file server's clock."""

    @property
    def goes_on(self) -> bool:
        """It runs, here or elsewhere."""
        return self.state == "running" or is_recent(self.silent_s)


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
        write_meta(run, meta)
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


def _rank(started: float, is_broken: bool = False) -> tuple[bool, bool, float]:
    """Orders runs by age, the newest last. A time that is still to come tells nothing of the age: such a run comes
    before all others, and takes no other's place; so does a broken one."""
    return not is_broken, started <= time.time() + CLOCKS_DIFFER_S, started


def _age_rank(path: Path) -> tuple[bool, bool, float]:
    try:
        return _rank(read_meta(RunDir(path)).started)
    except RunNotFound:
        return _rank(0.0, is_broken=True)


def metas() -> list[tuple[RunDir, Meta]]:
    """Every run under the state folder with how it was started, newest first; journals are not read."""
    found = []
    for path in _folders():
        with contextlib.suppress(RunNotFound):
            found.append((RunDir(path), read_meta(RunDir(path))))
    return sorted(found, key=lambda pair: (pair[1].started, pair[0].id), reverse=True)


def list_runs() -> list[RunSummary]:
    """Every run under the state folder, newest first, broken ones last. Raises RunNotFound or StateDirError."""
    found = [_listed(RunDir(path)) for path in _folders()]
    return sorted(found, key=lambda run: (_rank(run.started, run.state == "broken"), run.id), reverse=True)


def _listed(run: RunDir) -> RunSummary:
    ours, note = in_own_folder(run)
    try:
        found = summary(run)
    except RunNotFound as error:
        changed = min(max(run.path.lstat().st_mtime, 0.0), meta_file.LATEST) if os.path.lexists(run.path) else 0.0
        found = RunSummary(run.id, [], "broken", None, None, changed, None, run.path, str(error))
    return found if ours else found._replace(ours=False, note=note)


def in_own_folder(run: RunDir) -> tuple[bool, str]:
    """Whether a run's folder is a real one of this user that nobody else can write to; if not, why, in words."""
    try:
        why = files.distrust(run.path)
    except OSError as error:
        why = f"it can't be read: {error.strerror}"
    return why is None, why or ""


def summary(run: RunDir) -> RunSummary:
    """What became of a run. Raises RunNotFound."""
    meta = read_meta(run)
    from tfgpu_tui.core import events, run_words  # late: see journal.py

    knobs = tuple(f"{name}={value}" for name, value in meta.knobs.items())
    ended = last_event(run.journal)
    if isinstance(ended, events.RunEnded):
        how = (ended.exit_code, ended.signal, meta.started, ended.t, run.path)
        words = run_words.end_words(ended)
        found = RunSummary(run.id, meta.argv, "ended", *how, stopped=ended.stopped, ending=words)
    else:
        state, note, silent_s = _state(run, meta)
        found = RunSummary(run.id, meta.argv, state, None, None, meta.started, None, run.path, note, silent_s=silent_s)
    return found._replace(knobs=knobs, host=meta.host)


def _state(run: RunDir, meta: Meta) -> tuple[str, str, float | None]:
    """Of a run whose journal has no end, with a note where little is known, and how long it is silent where it is
    elsewhere."""
    if is_running(meta):
        return "running", "", None
    place, silent_s = _seen_from_here(run, meta)
    if is_recent(silent_s):
        return "elsewhere", liveness.way_to(meta, "attach"), silent_s
    if place == "elsewhere":
        words = f"{liveness.elsewhere_words(meta)}, and whether it still runs can't be seen from here"
        return "elsewhere", words, silent_s
    if place == "unknown":
        return "unknown", "it has no end, and its meta.json does not say on which machine it was started", None
    return "lost", "", None


def _seen_from_here(run: RunDir, meta: Meta) -> tuple[str, float | None]:
    """See `liveness.where`, and `RunSummary.silent_s`."""
    written = last_written(run.journal, run.output_log, run.supervisor_log, run.meta_path, run.path / alive.NAME)
    place = liveness.where(meta, written)
    return place, alive.silent_s(run.path, written) if place == "elsewhere" else None


def is_recent(silent_s: float | None) -> bool:
    """Whether a run that is elsewhere, and silent for so long, goes on."""
    return silent_s is not None and silent_s <= alive.LATELY_S


def goes_on(run: RunDir) -> bool:
    """Whether a run without an end is running, here or, as far as its files tell, elsewhere. Raises RunNotFound."""
    meta = read_meta(run)
    return is_running(meta) or is_recent(_seen_from_here(run, meta)[1])


def away(run: RunDir, verb: str) -> str | None:
    """Where a run goes on that can't be reached from here, and what to type there; None where that is not so. Raises
    RunNotFound."""
    found = summary(run)
    if found.state != "elsewhere" or not found.goes_on:
        return None
    return f"{run.id} {liveness.way_to(read_meta(run), verb)}"


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


def as_json(run: RunSummary) -> dict[str, Any]:
    """The object of `runs --json`; times in ISO 8601, UTC, as in report.json."""
    started = None if run.state == "broken" else _iso(run.started)
    derived = {"goes_on": run.goes_on, "started": started, "ended": _iso(run.ended), "path": str(run.path)}
    return {**run._asdict(), **derived}


def _iso(t: float | None) -> str | None:
    from datetime import datetime, timezone

    return None if t is None else datetime.fromtimestamp(t, timezone.utc).isoformat(timespec="milliseconds")
