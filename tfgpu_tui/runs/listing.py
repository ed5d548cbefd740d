"""What became of each run, and the list of all: `tfgpu-tui runs`.

As `rundir.py`, this is on the way to the script's first line: its records are tuples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from tfgpu_tui.runs import alive, liveness, rundir
from tfgpu_tui.runs import meta as meta_file
from tfgpu_tui.runs.journal import last_event
from tfgpu_tui.runs.meta import Meta
from tfgpu_tui.runs.rundir import RunDir, RunNotFound


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
    trial_of: str | None = None
    """The experiment that it is a trial of."""

    @property
    def goes_on(self) -> bool:
        """It runs, here or elsewhere."""
        return self.state == "running" or is_recent(self.silent_s)


def list_runs() -> list[RunSummary]:
    """Every run under the state folder, newest first, broken ones last. Raises RunNotFound or StateDirError."""
    found = [_listed(run) for run in rundir.all_runs()]
    return sorted(found, key=lambda run: (rundir.rank(run.started, run.state == "broken"), run.id), reverse=True)


def _listed(run: RunDir) -> RunSummary:
    ours, note = rundir.in_own_folder(run)
    try:
        found = summary(run)
    except RunNotFound as error:
        changed = min(max(run.path.lstat().st_mtime, 0.0), meta_file.LATEST) if os.path.lexists(run.path) else 0.0
        found = RunSummary(run.id, [], "broken", None, None, changed, None, run.path, str(error))
    return found if ours else found._replace(ours=False, note=note)


def summary(run: RunDir) -> RunSummary:
    """What became of a run. Raises RunNotFound."""
    meta = rundir.read_meta(run)
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
    return found._replace(knobs=knobs, host=meta.host, trial_of=(meta.trial or {}).get("group"))


def _state(run: RunDir, meta: Meta) -> tuple[str, str, float | None]:
    """Of a run whose journal has no end, with a note where little is known, and how long it is silent where it is
    elsewhere."""
    if liveness.is_running(meta):
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
    written = rundir.last_written(run.journal, run.output_log, run.supervisor_log, run.meta_path, run.path / alive.NAME)
    place = liveness.where(meta, written)
    return place, alive.silent_s(run.path, written) if place == "elsewhere" else None


def is_recent(silent_s: float | None) -> bool:
    """Whether a run that is elsewhere, and silent for so long, goes on."""
    return silent_s is not None and silent_s <= alive.LATELY_S


def goes_on(run: RunDir) -> bool:
    """Whether a run without an end is running, here or, as far as its files tell, elsewhere. Raises RunNotFound."""
    meta = rundir.read_meta(run)
    return liveness.is_running(meta) or is_recent(_seen_from_here(run, meta)[1])


def away(run: RunDir, verb: str) -> str | None:
    """Where a run goes on that can't be reached from here, and what to type there; None where that is not so. Raises
    RunNotFound."""
    found = summary(run)
    if found.state != "elsewhere" or not found.goes_on:
        return None
    return f"{run.id} {liveness.way_to(rundir.read_meta(run), verb)}"


def as_json(run: RunSummary) -> dict[str, Any]:
    """The object of `runs --json`; times in ISO 8601, UTC, as in report.json."""
    started = None if run.state == "broken" else _iso(run.started)
    derived = {"goes_on": run.goes_on, "started": started, "ended": _iso(run.ended), "path": str(run.path)}
    return {**run._asdict(), **derived}


def _iso(t: float | None) -> str | None:
    from datetime import datetime, timezone

    return None if t is None else datetime.fromtimestamp(t, timezone.utc).isoformat(timespec="milliseconds")
