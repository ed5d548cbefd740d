"""What the verbs do: attach, runs, stop, replay, report, compare, explain, doctor; and the screen of a started run."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tfgpu_tui.cli import command_line, opening
from tfgpu_tui.core import units
from tfgpu_tui.core.run_words import UNSEEN_WORDS
from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs import configuration, history, interpreter, pruning, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir, RunSummary
from tfgpu_tui.supervisor import launch
from tfgpu_tui.terminal.lines import printable, printable_lines
from tfgpu_tui.terminal.long_lines import for_output

FOLLOW_EVERY_S = 5.0
FASTEST = 1e6
"""Times the recorded pace of a replay."""


def show(
    run: RunDir,
    settings: configuration.Settings,
    mode: Literal["live", "replay"] = "live",
    speed: float = 1.0,
    early: list[int] | None = None,
    just_started: bool = False,
) -> int:
    """The screen; afterwards, however it ended, some lines say what became of the run, and how to come back. `early`
    are the signals that came before the screen (`opening.note_signals`, called here where it was not): it is then left
    out, and a run that was just started by this very command is stopped where that signal is Ctrl+C."""
    early = opening.note_signals() if early is None else early
    encoding = sys.__stderr__.encoding if sys.__stderr__ is not None else "ascii"
    if encoding.lower().replace("-", "") != "utf8":
        settings = settings._replace(ascii=True)  # Textual would print escapes for what the encoding lacks
    try:
        from tfgpu_tui.ui.app import run_screen  # late: the script was started before

        status = 0 if early else run_screen(run, settings, mode, speed, early)
        if early and just_started and early[0] == signal.SIGINT:
            opening.stop(run)
    finally:
        if mode == "live":
            _say_what_became(run)
    return 128 + early[0] if early else status


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
        line = f"{newest.id} {_state_words(newest)}.\nWhat was found: tfgpu-tui report {newest.id}\n"
    with contextlib.suppress(OSError):
        os.write(1, line.encode(errors="replace"))


def _newest_rerun(run: RunDir) -> RunSummary | None:
    """The newest of the run, its reruns, theirs, and so on; None where none is in the list."""
    try:
        known = rundir.metas()
    except rundir.RunNotFound:
        return None
    parents = {found.id: meta.parent for found, meta in known}
    return next((rundir.summary(found) for found, _ in known if _descends(found.id, run.id, parents)), None)


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
    settings = command_line.settings_of(options)
    run = rundir.find(options.run) if options.run else newest()
    if settings.plain or settings.headless or not command_line.screen_is_possible():
        return follow(run)
    return show(run, settings)


def newest() -> RunDir:
    """The newest run that is running, else the newest. Raises RunNotFound."""
    runs = rundir.list_runs()
    if not runs:
        raise rundir.RunNotFound("there are no runs yet")
    return RunDir(next((run for run in runs if run.state == "running"), runs[0]).path)


def follow(run: RunDir) -> int:
    """A run as lines on stdout until it ends, then its report."""
    from tfgpu_tui.report.plain import StatusPrinter

    printer = StatusPrinter()
    state, reader = history.latest(run.journal)
    with reader:
        while True:
            _go_on(state, reader)
            if state.ended is not None or not rundir.is_running(rundir.read_meta(run)):
                break
            for line in printer.lines(state):
                print(printable_lines(line), flush=True)
            time.sleep(FOLLOW_EVERY_S)
    _print_report(_known(run, state, reader.skipped))
    return 0


def runs(options: argparse.Namespace) -> int:
    """The list of all runs, or their pruning."""
    if options.prune is not None:
        return _prune(keep=options.prune)
    found = rundir.list_runs()
    if options.json:
        print(json.dumps([rundir.as_json(run) for run in found], indent=1))
        return 0
    if not found:
        print("there are no runs yet: tfgpu-tui train.py starts one")
    names = [printable(run.id) for run in found]
    words = [printable(_state_words(run)) for run in found]
    width, states = max(map(len, names), default=0), max(map(len, words), default=0)
    for run, name, state in zip(found, names, words, strict=True):
        known = run.state != "broken"
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)) if known else units.UNKNOWN
        lasted = units.clock(run.ended - run.started if run.ended else None)
        what = " ".join([*run.argv, f"({run.note})"] if run.note else run.argv)
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
        raise command_line.UsageError(str(error)) from error
    for run in deleted:
        print(printable(f"deleted {run.id}"))
    for why in left:
        print(printable(str(why)), file=sys.stderr if why.tried else sys.stdout)
    there = rundir.list_runs()
    size = sum(rundir.size_bytes(RunDir(run.path)) for run in there)
    print(f"{len(there)} runs are left, {size / 2**20:.1f} MiB")
    return 2 if any(why.tried for why in left) else 0


def _bytes(text: str) -> int:
    """`500M`, `2G`, `1.5GiB` or a number of bytes. Raises command_line.UsageError."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if found is None:
        raise command_line.UsageError(f"--total-size {text:.40}: write it as 500M or 2G")
    size = float(found.group(1)) * 1024 ** " KMGT".index(found.group(2).upper() or " ")
    if size > sys.maxsize:
        raise command_line.UsageError(f"--total-size {text:.40}: no disk is so large")
    return int(size)


def _state_words(run: RunSummary) -> str:
    if not run.ours:
        return "not this user's"
    if run.state in UNSEEN_WORDS:
        return UNSEEN_WORDS[run.state]
    if run.state == "lost":
        lives = rundir.script_lives(rundir.read_meta(RunDir(run.path)))
        return "monitor lost, script goes on" if lives else "monitor lost"
    return run.ending or run.state


def stop(options: argparse.Namespace) -> int:
    """Asks a run to stop."""
    run = rundir.find(options.run)
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


def replay(options: argparse.Namespace) -> int:
    """A run's screen again, from its journal."""
    settings = command_line.settings_of(options)
    run = rundir.find(options.run)
    if not 0 < options.speed <= FASTEST:
        raise command_line.UsageError(f"--speed {options.speed:g}: give a number above 0, and at most {FASTEST:g}")
    if options.at is not None and not math.isfinite(options.at):
        raise command_line.UsageError(f"--at {options.at:g}: give a number of seconds")
    if options.svg is not None:
        return _picture(run, options, settings, at_s=options.at)
    if settings.plain or not command_line.screen_is_possible():
        raise command_line.UsageError(
            "replay needs a terminal for its screen; `tfgpu-tui report RUN` prints what was found"
        )
    return show(run, settings, "replay", options.speed)


def _picture(run: RunDir, options: argparse.Namespace, settings: configuration.Settings, **more: Any) -> int:
    """A picture of a run's screen as SVG; `more` as for `ui.picture.picture`."""
    size = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", options.size or "120x40", re.ASCII)
    if size is None:
        raise command_line.UsageError(f"--size {options.size:.40}: write it as COLUMNSxROWS, for example 120x40")
    folded(run)  # says what is wrong with a run that can't be shown
    from tfgpu_tui.ui.picture import draw

    svg = draw(run, int(size[1]), int(size[2]), theme=settings.theme, settings=settings, **more)
    _write(options.svg, "--svg", svg)
    return 0


def _write(path: str, option: str, text: str) -> None:
    """A file that was asked for. Raises UsageError where it can't be written."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise command_line.UsageError(f"{option} {path}: {error.strerror}") from error


def folded(run: RunDir) -> RunState:
    """A run's state after all of its journal. Raises RunNotFound where it has none."""
    return _told(run).state


class _Told(NamedTuple):
    """What a run's journal tells, and what its folder does."""

    state: RunState
    life: str
    skipped: int

    def built(self) -> dict[str, Any]:
        from tfgpu_tui.report import report_json as reports

        return reports.build(self.state, self.life, self.skipped)


def _told(run: RunDir) -> _Told:
    state, reader = history.latest(run.journal)
    with reader:
        _go_on(state, reader)
    return _known(run, state, reader.skipped)


def _known(run: RunDir, state: RunState, skipped: int) -> _Told:
    if state.run is None:
        raise rundir.RunNotFound(f"{run.journal} holds no run (yet)")
    return _Told(state, "" if state.ended is not None else _life(run), skipped)


def _go_on(state: RunState, reader: JournalReader) -> None:
    """Folds what is new. Raises RunNotFound where the journal can't be read."""
    try:
        for event in reader:
            reader.skipped += not state.take(event)
    except OSError as error:
        raise rundir.RunNotFound(f"the journal {error.filename or ''} can't be read: {error.strerror}") from error


def _life(run: RunDir) -> str:
    """What is known of a run whose journal has no end."""
    try:
        state = rundir.summary(run).state
    except rundir.RunNotFound:
        return "unknown"
    return "running" if state == "ended" else state  # it ended while we read


def report(options: argparse.Namespace) -> int:
    """What was found in a run; of a running one, so far."""
    told = _told(rundir.find(options.run))
    if options.html is not None or options.tensorboard is not None:
        return _report_files(told, options)
    if options.json:
        print(json.dumps(told.built(), indent=1, allow_nan=False))
    else:
        _print_report(told)
    return 0


def _report_files(told: _Told, options: argparse.Namespace) -> int:
    """The report as a page, as event files, or both; says what was written."""
    if options.html is not None:
        from tfgpu_tui.report import html_page

        _write(options.html, "--html", html_page.html(told.state, told.built()))
        print(printable(f"written: {options.html}"))
    if options.tensorboard is not None:
        from tfgpu_tui.report import tensorboard

        try:
            points = tensorboard.write(told.state, Path(options.tensorboard))
        except tensorboard.TensorBoardMissing as error:
            raise command_line.UsageError(f"--tensorboard: {error}") from error
        except OSError as error:
            raise command_line.UsageError(f"--tensorboard {options.tensorboard}: {error.strerror}") from error
        print(printable(f"written: {points} points; look at them with: tensorboard --logdir {options.tensorboard}"))
    return 0


def _print_report(told: _Told) -> None:
    from tfgpu_tui.report import report_json as reports

    print(for_output(printable_lines(reports.text(told.built()))))


def compare(options: argparse.Namespace) -> int:
    """The measured difference between two runs."""
    from tfgpu_tui.report import compare as comparing

    runs = rundir.find(options.before), rundir.find(options.after)
    before, after = map(folded, runs)
    if options.svg is not None:
        return _picture(runs[1], options, command_line.settings_of(options), before=runs[0])
    if options.json:
        print(json.dumps(comparing.as_json(before, after), indent=1, allow_nan=False))
    else:
        print(for_output(printable_lines(comparing.text(before, after))))
    return 0


def explain(options: argparse.Namespace) -> int:
    """What a finding means, or the list of all."""
    from tfgpu_tui.diagnose import explain as explaining

    columns = shutil.get_terminal_size().columns
    try:
        if options.json:
            known = explaining.as_json(explaining.find(options.id)) if options.id else explaining.all_as_json()
            print(json.dumps(known, indent=1))
        elif options.id:
            print(printable_lines(explaining.text(explaining.find(options.id), columns)))
        else:
            print(printable_lines(explaining.listing(columns)))
    except explaining.UnknownFinding as error:
        raise command_line.UsageError(str(error)) from error
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Whether TensorFlow will use a GPU here, and if not, why."""
    from tfgpu_tui import doctor as examine

    result = examine.run(interpreter.choose(options.python or command_line.settings_of(options).python))
    print(json.dumps(result.as_json(), indent=1) if options.json else for_output(printable_lines(result.text())))
    return result.exit_code


ALL: dict[str, Callable[[Any], int]] = {
    "attach": attach,
    "runs": runs,
    "prune": prune,
    "stop": stop,
    "replay": replay,
    "report": report,
    "compare": compare,
    "explain": explain,
    "doctor": doctor,
}
