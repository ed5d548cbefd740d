"""The verb that stands for itself: a script is started, and shown, or runs headless. On the way to its first line."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from tfgpu_tui.cli import launched, streams
from tfgpu_tui.cli.refusals import GONE, UsageError, folder_is_gone
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.core import knobs, python_options
from tfgpu_tui.runs import configuration, interpreter
from tfgpu_tui.supervisor import launch

STATUS_EVERY_S = 5.0
MOST_STEPS = 10**15


def run(options: argparse.Namespace, words: list[str], python: list[str]) -> int:
    """Runs a script with Python's own options before it; returns the exit status. Raises UsageError."""
    command = [*python, *checked(words)]
    settings = settings_of(options)
    spec = launch.LaunchSpec(
        argv=command,
        cwd=current_folder(),
        python=interpreter.choose(settings.python),
        knobs=knobs.parse([*(f"{name}={value}" for name, value in settings.knobs.items()), *options.set]),
        interval_s=settings.interval_s,
        stall_after_s=settings.stall_after_s,
        stop_after=steps(options.stop_after),
        report_json=_writable(options.report_json, _files_of(command, options)),
        metrics=_metrics(settings.metrics),
        on_finding=settings.on_finding,
        on_finding_severity=settings.on_finding_severity,
    )
    if settings.headless or settings.plain or not streams.screen_is_possible():
        from tfgpu_tui.supervisor.main import run_foreground

        _say_how_to_look()
        # On a terminal that can't show the screen, something should still show that the training lives.
        lines = settings.plain or (not settings.headless and os.isatty(2))
        return run_foreground(launch.create(spec, "headless"), STATUS_EVERY_S if lines else None)
    if spec.report_json is not None and _descriptor_of(spec.report_json) is not None:
        why = "beside the screen the report can't go to a descriptor of this terminal"
        raise UsageError(f"--report-json {options.report_json}: {why}; give a file's name, or --headless, too")
    return _start_and_show(spec, settings)


def _say_how_to_look() -> None:
    """One line for all ranks of a job, on stderr before the script's first one."""
    words = launched.how_to_look(os.environ)
    if words is not None:
        with contextlib.suppress(OSError, ValueError):
            print(words, file=sys.stderr, flush=True)


def _start_and_show(spec: launch.LaunchSpec, settings: configuration.Settings) -> int:
    """The exit status of the screen, or 128 + the signal that came before it. Raises rundir.StateDirError."""
    from tfgpu_tui.cli import opening  # late: only for the screen

    size = os.get_terminal_size(2)
    # A terminal that does not know its size says 0, as over a serial line.
    run, early = opening.start(spec._replace(columns=size.columns or 80, rows=size.lines or 24))
    from tfgpu_tui.cli import watching  # late: the script was started before

    return watching.show(run, settings, early=early, just_started=True)


def checked(command: list[str]) -> list[str]:
    """The script's command line as it goes to the interpreter. Raises UsageError where there is nothing to run."""
    if command[0] in ("-m", "-c"):
        if len(command) < 2:
            needs = "a module, for example: tfgpu-tui -m package.train" if command[0] == "-m" else "code"
            raise UsageError(f"{command[0]} needs {needs}")
        return command
    if command[0] in ("", "-"):
        raise UsageError("a script needs a file: what comes from stdin, or has no name, can't be watched")
    script = Path(command[0])
    try:
        status = script.stat()
    except FileNotFoundError:
        raise UsageError(GONE if folder_is_gone() else f"there is no script {script}") from None
    except OSError as error:
        raise UsageError(f"the script {command[0]:.300} can't be reached: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode) and not (script / "__main__.py").is_file():
        raise UsageError(f"{script} is a folder without a __main__.py: give the script in it, or -m for a package")
    if not os.access(script, os.R_OK):
        raise UsageError(f"{script} can't be read: permission denied")
    return command


def current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError(GONE) from None


def steps(text: str | None, option: str = "--stop-after") -> int | None:
    """A number of steps. Raises UsageError."""
    if text is None:
        return None
    if not text.isdecimal() or len(text) > len(str(MOST_STEPS)) or not 1 <= int(text) <= MOST_STEPS:
        raise UsageError(f"{option} {text:.40}: give a whole number of steps, 1 or more (and at most {MOST_STEPS})")
    return int(text)


def _writable(path: str | None, needed: Sequence[str]) -> str | None:
    """An absolute path that the report can be written to, as far as that can be told before, and that is none of the
    files that are `needed`. Raises UsageError."""
    if path is None:
        return None
    target = str(Path(path).absolute())
    descriptor = _descriptor_of(target)
    try:
        if os.path.isdir(target):
            raise UsageError(f"--report-json {path}: this is a folder; give a file's name")
        there = os.stat(target if descriptor is None else descriptor)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.realpath(target))
        if not os.path.isdir(folder):
            raise UsageError(f"--report-json {path}: there is no folder {folder}") from None
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise UsageError(f"--report-json {path}: this can't be written: {error.strerror}") from None
    else:
        writable = descriptor is not None or os.access(target, os.W_OK)
        for name in needed:
            if os.path.isfile(name) and os.path.samestat(os.stat(name), there):
                raise UsageError(f"--report-json {path}: this is {name}, which the run reads; give another name")
    if not writable:
        raise UsageError(f"--report-json {path}: this can't be written: permission denied")
    return target


def _metrics(where: str | None) -> str | None:
    """With an absolute path. Raises UsageError where it is none, or nothing here can tell them."""
    if where is None:
        return None
    from tfgpu_tui.cli import exporting  # late: few ask for them
    from tfgpu_tui.report import prometheus

    try:
        prometheus.library()
    except prometheus.PrometheusMissing as error:
        raise UsageError(f"--metrics: {error}") from error
    return str(exporting.target(where))


def _descriptor_of(path: str) -> int | None:
    from tfgpu_tui.supervisor.report_file import descriptor_of  # late: few ask for a report

    return descriptor_of(path)


def _files_of(command: list[str], options: argparse.Namespace) -> list[str]:
    """What may be files that the run reads: the script or module, its arguments, the settings."""
    what_runs = python_options.without_options(command)
    module = what_runs[1].replace(".", os.sep) if what_runs[0] == "-m" else None
    found = [f"{module}.py", os.path.join(module, "__main__.py")] if module is not None else []
    settings = options.config or os.environ.get("TFGPU_TUI_CONFIG") or str(configuration.default_path())
    return [*found, *command, settings]
