"""The verbs with a screen: attach and replay; and the screen of a run that was just started."""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from tfgpu_tui.cli import opening, reading, streams
from tfgpu_tui.cli.managing import state_words
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.cli.telling import picture, print_report
from tfgpu_tui.runs import configuration, history, listing, rundir
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch
from tfgpu_tui.terminal.lines import printable, printable_lines

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group
    from tfgpu_tui.ui.experiment import Experiment

FOLLOW_EVERY_S = 5.0
FIRST_TRIAL_S = 20.0
"""For the first trial of an experiment to begin."""
FASTEST = 1e6
"""Times the recorded pace of a replay."""


def show(
    run: RunDir,
    settings: configuration.Settings,
    mode: Literal["live", "replay"] = "live",
    speed: float = 1.0,
    early: list[int] | None = None,
    just_started: bool = False,
    say: str = "",
    experiment: Experiment | None = None,
) -> int:
    """The screen, whose first words are `say`; afterwards, however it ended, some lines say what became of the run, and
    how to come back. `early` are the signals that came before the screen (`opening.note_signals`, called here where it
    was not): it is then left out, and a run that was just started by this very command is stopped where that signal is
    Ctrl+C."""
    early = opening.note_signals() if early is None else early
    encoding = sys.__stderr__.encoding if sys.__stderr__ is not None else "ascii"
    if encoding.lower().replace("-", "") != "utf8":
        settings = settings._replace(ascii=True)  # Textual would print escapes for what the encoding lacks
    gc.disable()  # what is loaded and built until the first paint stays; the screen enables it (MonitorApp.on_ticked)
    tried = [experiment.id] if experiment is not None else []
    try:
        from tfgpu_tui.ui.app import run_screen  # late: the script was started before

        tour = settings.tour and not tried
        left = tried.append
        status = 0 if early else run_screen(run, settings, mode, speed, early, say, tour, False, experiment, left)
        if early and just_started and early[0] == signal.SIGINT:
            opening.stop(run)
    finally:
        if mode == "live" and not tried:
            _say_what_became(run)
    if tried and not early:
        return _say_what_was_tried(tried[-1])
    return 128 + early[0] if early else status


def show_experiment(group_id: str, settings: configuration.Settings, begun: subprocess.Popen[bytes] | None) -> int:
    """The screen of an experiment, whose conductor was `begun` by this command or goes on anyway; then its table, and
    an exit status as without a screen. Raises launch.ControlError where it has no trial to show."""
    from tfgpu_tui.trials import groups
    from tfgpu_tui.ui.experiment import Experiment

    early = opening.note_signals()
    experiment = Experiment(group_id, begun)
    deadline = time.monotonic() + FIRST_TRIAL_S
    run: RunDir | None = None
    while run is None and not early:
        told = experiment.read()
        if told is not None and (begun is None or told.group.now is not None or told.asks):
            run = experiment.run()
        if run is None and told is not None and told.over and told.group.ended is not None:
            return _say_what_was_tried(group_id)
        if run is None and ((told is not None and told.over) or time.monotonic() > deadline):
            raise launch.ControlError(f"{group_id} has not begun; {groups.log_of(group_id)} may say why")
        time.sleep(0.02)
    status = 128 + early[0] if run is None else show(run, settings, early=early, experiment=experiment)
    if begun is not None and early and early[0] == signal.SIGINT and experiment.group is not None:
        groups.stop(groups.find(group_id))
    return status


def _say_what_was_tried(group_id: str) -> int:
    """Of an experiment that was on the screen; the exit status. To a terminal that is gone: nothing."""
    from tfgpu_tui.cli import experiments
    from tfgpu_tui.trials import groups

    group = groups.find(group_id)
    if groups.goes_on(group):
        line = f"{group_id} goes on.\nCome back: tfgpu-tui attach {group_id}\nStop it:   tfgpu-tui stop {group_id}\n"
        with contextlib.suppress(OSError):
            os.write(1, line.encode(errors="replace"))
        return 0
    experiments.show(group, as_json=False)
    return experiments.status(group)


def _say_what_became(run: RunDir) -> None:
    """Of the run, or of the newest rerun of it that was started in the screen. To a terminal that is gone: nothing."""
    newest = _newest_rerun(run)
    if newest is None:
        return
    if newest.state == "running" and _rerun_follows(newest):
        line = f"{newest.id} stops, and its rerun starts by itself.\nCome back: tfgpu-tui attach\n"
    elif newest.state == "running":
        # One line each, so that a narrow terminal breaks no command in the middle.
        line = f"{newest.id} goes on.\nCome back: tfgpu-tui attach {newest.id}\nStop it:   tfgpu-tui stop {newest.id}\n"
    else:
        line = f"{newest.id} {state_words(newest)}.\nWhat was found: tfgpu-tui report {newest.id}\n"
    with contextlib.suppress(OSError):
        os.write(1, line.encode(errors="replace"))


def _newest_rerun(run: RunDir) -> RunSummary | None:
    """The newest of the run, its reruns, theirs, and so on; None where none is in the list."""
    try:
        known = rundir.metas()
    except rundir.RunNotFound:
        return None
    parents = {found.id: meta.parent for found, meta in known}
    return next((listing.summary(found) for found, _ in known if _descends(found.id, run.id, parents)), None)


def _descends(run_id: str, ancestor: str, parents: Mapping[str, str | None]) -> bool:
    seen: set[str] = set()
    current: str | None = run_id
    while current is not None and current not in seen:
        if current == ancestor:
            return True
        seen.add(current)
        current = parents.get(current)
    return False


def _rerun_follows(run: RunSummary) -> bool:
    state, reader = history.latest(RunDir(run.path).journal)
    with reader:
        for event in reader:
            state.apply(event)
    return state.rerun is not None and state.rerun.pending


def attach(options: argparse.Namespace) -> int:
    """The screen of a run, or status lines where there is no terminal for it."""
    settings = settings_of(options)
    if options.run:
        from tfgpu_tui.cli import fleets  # late: most runs are here

        if fleets.is_there(options.run):
            return fleets.attach_there(*options.run.rsplit(":", 1))
    shown = settings.plain or settings.headless or not streams.screen_is_possible()
    try:
        run = rundir.find(options.run) if options.run else newest()
    except rundir.RunNotFound:
        if not options.run or (group := _experiment(options.run)) is None:
            raise
        return _attach_experiment(group, settings, shown)
    if not (options.run or shown) and (group := _experiment_of(run)) is not None:
        return _attach_experiment(group, settings, shown)
    away = listing.away(run, "attach")
    if shown:
        if away is not None:
            print(printable(f"tfgpu-tui: {away} (here it can only be watched)"), file=sys.stderr, flush=True)
        return follow(run)
    return show(run, settings, say=f"here it can only be watched: {away}" if away is not None else "")


def _experiment(text: str) -> Group | None:
    from tfgpu_tui.cli import experiments  # late: few attach to one

    return experiments.known(text)


def _experiment_of(run: RunDir) -> Group | None:
    """The experiment that goes on, and that this run is a trial of."""
    from tfgpu_tui.trials import groups

    trial = rundir.read_meta(run).trial
    group = _experiment(trial["group"]) if trial is not None and "group" in trial else None
    return group if group is not None and groups.goes_on(group) else None


def _attach_experiment(group: Group, settings: configuration.Settings, plain: bool) -> int:
    """Its screen while it goes on, or asks; else, or without a terminal for it, its table as far as it is known."""
    from tfgpu_tui.cli import experiments
    from tfgpu_tui.trials import groups

    if (groups.goes_on(group) or group.ended == "refused") and not plain:
        return show_experiment(group.id, settings, None)
    experiments.show(group, as_json=False)
    return 0


def newest() -> RunDir:
    """The newest run that is running, else the newest. Raises RunNotFound."""
    runs = listing.list_runs()
    if not runs:
        raise rundir.RunNotFound("there are no runs yet")
    first = next((run for run in runs if run.state == "running"), None) or next((r for r in runs if r.goes_on), runs[0])
    return RunDir(first.path)


def follow(run: RunDir) -> int:
    """A run as lines on stdout until it ends, then its report."""
    from tfgpu_tui.report.plain import StatusPrinter

    printer = StatusPrinter()
    state, reader = history.latest(run.journal)
    with reader:
        while True:
            reading.go_on(state, reader)
            if state.ended is not None or not listing.goes_on(run):
                break
            for line in printer.lines(state):
                print(printable_lines(line), flush=True)
            time.sleep(FOLLOW_EVERY_S)
    print_report(reading.known(run, state, reader.skipped))
    return 0


def replay(options: argparse.Namespace) -> int:
    """A run's screen again, from its journal."""
    settings = settings_of(options)
    run = rundir.find(options.run)
    if not 0 < options.speed <= FASTEST:
        raise UsageError(f"--speed {options.speed:g}: give a number above 0, and at most {FASTEST:g}")
    if options.at is not None and not math.isfinite(options.at):
        raise UsageError(f"--at {options.at:g}: give a number of seconds")
    if options.svg is not None:
        return picture(run, options, settings, at_s=options.at)
    if settings.plain or not streams.screen_is_possible():
        raise UsageError("replay needs a terminal for its screen; `tfgpu-tui report RUN` prints what was found")
    return show(run, settings, "replay", options.speed)
