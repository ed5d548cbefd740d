"""Which runs may be deleted, and their deletion: never one that is not proved dead."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tfgpu_tui.core import events
from tfgpu_tui.runs import listing, liveness, rundir
from tfgpu_tui.runs.journal import last_event
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.runs.sockets import remove_socket

RUNNING = "it is running"
SILENT_S = 86400.0
"""A broken run, or one on another host, is as good as dead when nothing was written to it for so long: one that runs
writes all the time."""


class NotDeleted(Exception):
    """A run that is left; the text is a whole sentence for a person."""

    def __init__(self, words: str, tried: bool = False) -> None:
        super().__init__(words)
        self.tried = tried
        """Whether it was to be deleted, and could not be."""


def why_kept(run: RunDir) -> str | None:
    """Why a run must not be deleted, in words; None where it is this user's, and proved that nothing of it goes on."""
    ours, why = rundir.in_own_folder(run)
    if not ours or run.path.parent != rundir.runs_dir():
        return why or "it does not lie in the folder of all runs"
    try:
        found, meta = listing.summary(run), rundir.read_meta(run)
    except rundir.RunNotFound as error:
        return _why_broken_kept(run, str(error))
    if found.state == "ended":
        return None
    if found.state == "running" or liveness.script_lives(meta):
        return RUNNING if found.state == "running" else "its script goes on without its monitor"
    if found.state == "unknown":
        return found.note
    if found.state == "elsewhere":
        return found.note if (found.silent_s or 0.0) <= SILENT_S else None
    # Without a pid, a supervisor may never have been able to write its own: the disk was full.
    pid = liveness.holder(run.path) if meta.supervisor_pid is None and meta.keeper_pid is None else None
    return None if pid is None else f"process {pid} has its files open"


def _why_broken_kept(run: RunDir, broken: str) -> str | None:
    if isinstance(last_event(run.journal), events.RunEnded):
        return None
    pid = liveness.holder(run.path)
    if pid is not None:
        return f"process {pid} has its files open"
    if rundir.last_written(run.journal, run.output_log) > time.time() - SILENT_S:
        return f"{broken}, and something wrote to it less than a day ago"
    return None


def delete(run: RunDir) -> None:
    """Deletes a run's folder, and its socket where nobody was left to do that. Raises NotDeleted."""
    why = why_kept(run)
    if why is not None:
        way = "; stop it first" if why == RUNNING else f" (when you know that nothing of it runs: rm -r {run.path})"
        raise NotDeleted(f"{run.id} is kept: {why}{way}")
    try:
        left_socket = rundir.read_meta(run).socket
    except rundir.RunNotFound:
        left_socket = ""
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise NotDeleted(f"{run.id} can't be deleted: {run.path}: {error.strerror}", tried=True) from error
    if left_socket:
        remove_socket(Path(left_socket))


def prune(
    keep: int | None = None,
    older_than_days: float | None = None,
    total_bytes: int | None = None,
    on_left: Callable[[NotDeleted], None] = lambda left: None,
) -> list[RunSummary]:
    """Deletes runs, and says which: all but the newest `keep`, those that were started longer ago than so many days,
    and the oldest ones while all together are larger than `total_bytes`. What is not proved dead is never deleted; it
    counts. `on_left` hears of each run that is left though it was to go. Raises ValueError on a number below 0."""
    if any(number is not None and not number >= 0 for number in (keep, older_than_days, total_bytes)):
        raise ValueError("prune needs numbers that are not negative")
    removed, size, now = [], 0, time.time()
    for index, run in enumerate(listing.list_runs()):
        bytes_here = rundir.size_bytes(RunDir(run.path))
        size += bytes_here
        too_many = keep is not None and index >= keep
        too_old = older_than_days is not None and run.started < now - older_than_days * 86400
        too_large = total_bytes is not None and size > total_bytes
        if not (too_many or too_old or too_large):
            continue
        try:
            delete(RunDir(run.path))
        except NotDeleted as left:
            on_left(left)
            continue
        size -= bytes_here
        removed.append(run)
    return removed
