"""The verb `try`: the script with one setting after the other, then what to keep; on the screen, or in lines."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType

from tfgpu_tui.cli import experiments, starting, streams
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.core import knobs
from tfgpu_tui.runs import configuration, interpreter
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.trials import conduct, groups, records, table
from tfgpu_tui.trials.records import Group, Record, words

BUDGET = "5m"
LEAST_S, MOST_S = 10.0, 7 * 86400.0
SHOWN = 12
"""Files that are listed."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def try_settings(options: argparse.Namespace) -> int:
    """Runs the experiment; the exit status says whether something helped. Raises UsageError."""
    budget_s = seconds(options.budget or BUDGET)
    settings = settings_of(options)
    group = _resumed(options) if options.resume else _new(options, settings)
    group = replace(group, budget_s=budget_s, may_write=group.may_write or options.yes)
    if not (options.json or settings.plain or settings.headless) and streams.screen_is_possible():
        from tfgpu_tui.cli import watching  # late: only for the screen

        return watching.show_experiment(group.id, settings, conduct.begin(group))
    may_ask = not options.json
    experiment = conduct.Experiment(group, _began, _ended, lambda files: _agreed(files, group.id, may_ask))
    with _stopped_by_signals(experiment):
        group = experiment.conduct()
    experiments.show(group, options.json)
    return experiments.status(group)


def seconds(text: str) -> float:
    """`90s`, `5m`, `1h`, `300`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,7}(?:\.\d{1,3})?)\s*([smh]?)", text, re.ASCII)
    if found is None or not LEAST_S <= (value := float(found[1]) * _UNITS[found[2]]) <= MOST_S:
        raise UsageError(f"--budget {text:.40}: give a time from {LEAST_S:g}s to 7 days, such as 90s, 5m or 1h")
    return value


def settings_asked(texts: list[str]) -> list[dict[str, str]]:
    """`["threads=1,input=parallel"]` -> a setting for each. Raises UsageError, knobs.KnobError."""
    found = []
    for text in texts:
        for part in re.split(r",(?=[a-z_]+=)", text):  # visible_devices=0,1 has commas of its own
            setting = knobs.parse([part.strip()])
            if not setting:
                raise UsageError(f"--knobs {part:.60}: this is the script as it is, which each trial is compared with")
            if setting not in found:
                found.append(setting)
    return found


def _new(options: argparse.Namespace, settings: configuration.Settings) -> Group:
    if not options.words:
        raise UsageError("which script? For example: tfgpu-tui try train.py")
    command = [*options.python_options, *starting.checked(options.words)]
    base = knobs.parse([*(f"{name}={value}" for name, value in settings.knobs.items()), *options.set])
    return groups.new(
        command,
        starting.current_folder(),
        interpreter.choose(options.python or settings.python),
        base=base,
        asked=settings_asked(options.knobs),
        steps=starting.steps(options.steps, "--steps"),
    )


def _resumed(options: argparse.Namespace) -> Group:
    if options.words or options.knobs or options.set:
        raise UsageError("--resume goes on with an experiment as it was: give no script and no settings")
    try:
        found = groups.find(options.resume)
    except groups.GroupNotFound as error:
        raise UsageError(f"--resume: {error}") from error
    if groups.goes_on(found):
        raise UsageError(f"--resume: {found.id} goes on; tfgpu-tui attach {found.id} shows it")
    return records.to_go_on(found)


def _began(group: Group, setting: dict[str, str], run: RunDir) -> None:
    if not group.records:
        _say(f"{group.id}: the script as it is, then with one setting after the other. Ctrl+C tells what is known.")
    if sys.stderr is not None and os.isatty(2):
        _say(f"\r{len(group.records) + 1:>3}  {words(setting):<28} …", end="")


def _ended(group: Group, record: Record) -> None:
    clear = "\r\x1b[K" if sys.stderr is not None and os.isatty(2) else ""
    _say(clear + printable(table.line(len(group.records), record)))


def _say(text: str, end: str = "\n") -> None:
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(text, end=end, file=sys.stderr, flush=True)


def _agreed(files: list[str], group: str, may_ask: bool) -> bool:
    """Whether the user lets the trials write what was written during the first one."""
    _say("While the script ran, these files were written; each trial may write them again:")
    for file in files[:SHOWN]:
        _say(f"  {printable(file)}")
    if len(files) > SHOWN:
        _say(f"  and {len(files) - SHOWN} more")
    _say("A script can leave that out where TFGPU_TUI_TRIAL=1 stands in its environment.")
    if may_ask and sys.stdin is not None and os.isatty(0) and os.isatty(2):
        _say("Go on? [y/N] ", end="")
        with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        return False
    _say(f"Not tried. To go on: tfgpu-tui try --yes --resume {group}")
    return False


@contextlib.contextmanager
def _stopped_by_signals(experiment: conduct.Experiment) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the experiment; what is known is told."""

    def stop(number: int, frame: FrameType | None) -> None:
        experiment.stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
