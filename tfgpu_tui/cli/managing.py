"""The verbs about all runs: their list, their pruning, and a stop of one."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time

from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.core import units
from tfgpu_tui.core.run_words import LOST_WORDS, UNSEEN_WORDS
from tfgpu_tui.runs import listing, pruning, rundir
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch
from tfgpu_tui.terminal.lines import printable


def runs(options: argparse.Namespace) -> int:
    """The list of all runs, or their pruning."""
    if options.prune is not None:
        return _prune(keep=options.prune)
    found = listing.list_runs()
    if options.json:
        print(json.dumps([listing.as_json(run) for run in found], indent=1))
        return 0
    if not found:
        print("there are no runs yet: tfgpu-tui train.py starts one")
    names = [printable(run.id) for run in found]
    words = [printable(state_words(run)) for run in found]
    width, states = max(map(len, names), default=0), max(map(len, words), default=0)
    for run, name, state in zip(found, names, words, strict=True):
        known = run.state != "broken"
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)) if known else units.UNKNOWN
        lasted = units.clock(run.ended - run.started if run.ended else None)
        notes = [f"({run.note})"] if run.note else []
        settings = [f"[{' '.join(run.knobs)}]"] if run.knobs else []
        notes += [f"(trial of {run.trial_of})"] if run.trial_of is not None else []
        what = " ".join([*run.argv, *settings, *notes])
        print(printable(f"{name:<{width}}  {started:<16}  {lasted:>8}  {state:<{states}}  {what}"))
    return 0


def prune(options: argparse.Namespace) -> int:
    """Deletes old runs: by number, age or size; never one that may still run."""
    size = _bytes(options.total_size) if options.total_size is not None else None
    keep = 20 if options.keep is None and options.older_than is None and size is None else options.keep
    return _prune(keep, options.older_than, size)


def _prune(keep: int | None = None, older_than_days: float | None = None, total_bytes: int | None = None) -> int:
    left: list[pruning.NotDeleted] = []
    try:
        deleted = pruning.prune(keep, older_than_days, total_bytes, left.append)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for run in deleted:
        print(printable(f"deleted {run.id}"))
    for group_id in _prune_experiments():
        print(printable(f"deleted {group_id}, whose runs are gone"))
    for why in left:
        print(printable(str(why)), file=sys.stderr if why.tried else sys.stdout)
    there = listing.list_runs()
    size = sum(rundir.size_bytes(RunDir(run.path)) for run in there)
    print(f"{len(there)} runs are left, {size / 2**20:.1f} MiB")
    return 2 if any(why.tried for why in left) else 0


def _prune_experiments() -> list[str]:
    from tfgpu_tui.trials import groups  # late: only for this

    return groups.prune()


def _bytes(text: str) -> int:
    """`500M`, `2G`, `1.5GiB` or a number of bytes. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"--total-size {text:.40}: write it as 500M or 2G")
    size = float(found.group(1)) * 1024 ** " KMGT".index(found.group(2).upper() or " ")
    if size > sys.maxsize:
        raise UsageError(f"--total-size {text:.40}: no disk is so large")
    return int(size)


def state_words(run: RunSummary) -> str:
    if not run.ours:
        return "not this user's"
    if run.state == "elsewhere" and run.goes_on:
        return f"runs on {run.host}"
    if run.state in UNSEEN_WORDS:
        return UNSEEN_WORDS[run.state]
    if run.state == "lost":
        lives = rundir.script_lives(rundir.read_meta(RunDir(run.path)))
        return f"{LOST_WORDS}, script goes on" if lives else LOST_WORDS
    return run.ending or run.state


def stop(options: argparse.Namespace) -> int:
    """Asks a run to stop."""
    try:
        run = rundir.find(options.run)
    except rundir.RunNotFound:
        from tfgpu_tui.cli import experiments  # late: few stop one

        if (group := experiments.known(options.run)) is None:
            raise
        if not experiments.stop(group):
            raise launch.ControlError(f"{group.id} does not go on here") from None
        print(f"{group.id} ends with its trial; tfgpu-tui report {group.id} tells what is known")
        return 0
    taken_back = launch.stop(run, options.stage)
    how = {
        "batch": "after its current batch",
        "interrupt": "by SIGINT",
        "terminate": "by SIGTERM",
        "kill": "by SIGKILL",
    }
    print(f"{run.id} was asked to stop {how[options.stage]}; tfgpu-tui runs shows when it has")
    if taken_back:
        print("a rerun of it was on its way, and was taken back")
    return 0
