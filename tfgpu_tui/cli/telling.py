"""The verbs that tell what was found: report, compare, explain and doctor, as text, JSON, a page or a picture."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgpu_tui.cli import reading
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.runs import configuration, interpreter, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import printable, printable_lines
from tfgpu_tui.terminal.long_lines import for_output

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group


def report(options: argparse.Namespace) -> int:
    """What was found in a run; of a running one, so far. Also of an experiment, by its id."""
    try:
        run = rundir.find(options.run)
    except rundir.RunNotFound:
        from tfgpu_tui.cli import experiments  # late: few reports are of one

        if (found := experiments.known(options.run)) is None:
            raise
        return _report_experiment(found, options)
    told = reading.told(run)
    if options.html is not None or options.tensorboard is not None:
        return _report_files(told, options)
    if options.json:
        print(json.dumps(told.built(), indent=1, allow_nan=False))
    else:
        print_report(told)
    return 0


def _report_experiment(found: Group, options: argparse.Namespace) -> int:
    from tfgpu_tui.cli import experiments

    if options.tensorboard is not None:
        raise UsageError("--tensorboard is for a run: an experiment has no series of its own")
    if options.html is None:
        experiments.show(found, options.json)
        return 0
    write(options.html, "--html", experiments.html(found))
    print(printable(f"written: {options.html}"))
    return 0


def _report_files(told: reading.Told, options: argparse.Namespace) -> int:
    """The report as a page, as event files, or both; says what was written."""
    if options.html is not None:
        from tfgpu_tui.report import html_page

        write(options.html, "--html", html_page.html(told.state, told.built()))
        print(printable(f"written: {options.html}"))
    if options.tensorboard is not None:
        from tfgpu_tui.report import tensorboard

        try:
            points = tensorboard.write(told.state, Path(options.tensorboard))
        except tensorboard.TensorBoardMissing as error:
            raise UsageError(f"--tensorboard: {error}") from error
        except OSError as error:
            raise UsageError(f"--tensorboard {options.tensorboard}: {error.strerror}") from error
        print(printable(f"written: {points} points; look at them with: tensorboard --logdir {options.tensorboard}"))
    return 0


def print_report(told: reading.Told) -> None:
    """The report as text, on stdout."""
    from tfgpu_tui.report import report_json as reports

    print(for_output(printable_lines(reports.text(told.built()))))


def compare(options: argparse.Namespace) -> int:
    """The measured difference between two runs. The exit status is that of the limits, where some were given."""
    from tfgpu_tui.report import compare as comparing
    from tfgpu_tui.report import limits

    try:
        wanted = [limits.parse(text) for text in options.fail_if]
    except ValueError as error:
        raise UsageError(f"--fail-if: {error}") from error
    runs = rundir.find(options.before), rundir.find(options.after)
    before, after = map(reading.folded, runs)
    judged = [limits.judge(limit, before, after) for limit in wanted]
    if options.svg is not None:
        picture(runs[1], options, settings_of(options), before=runs[0])
    elif options.json:
        told = {**comparing.as_json(before, after), "limits": [limits.as_json(each) for each in judged]}
        print(json.dumps(told, indent=1, allow_nan=False))
    else:
        text = [comparing.text(before, after), *([""] if judged else []), *map(limits.line, judged)]
        print(for_output(printable_lines("\n".join(text))))
    return limits.status(judged)


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
        raise UsageError(str(error)) from error
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Whether TensorFlow will use a GPU here, and if not, why."""
    from tfgpu_tui import doctor as examine

    result = examine.run(interpreter.choose(options.python or settings_of(options).python))
    print(json.dumps(result.as_json(), indent=1) if options.json else for_output(printable_lines(result.text())))
    return result.exit_code


def picture(run: RunDir, options: argparse.Namespace, settings: configuration.Settings, **more: Any) -> int:
    """A picture of a run's screen as SVG; `more` as for `ui.picture.picture`."""
    size = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", options.size or "120x40", re.ASCII)
    if size is None:
        raise UsageError(f"--size {options.size:.40}: write it as COLUMNSxROWS, for example 120x40")
    reading.folded(run)  # says what is wrong with a run that can't be shown
    from tfgpu_tui.ui.picture import draw

    svg = draw(run, int(size[1]), int(size[2]), theme=settings.theme, settings=settings, **more)
    write(options.svg, "--svg", svg)
    return 0


def write(path: str, option: str, text: str) -> None:
    """A file that was asked for. Raises UsageError where it can't be written."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
