"""The command line: its options, its verbs, and the choice between the screen and the script's own streams.

Nothing heavy is imported in here: `--help` must be instant, and a script starts before the screen is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import tfgpu_tui
from tfgpu_tui.cli import streams
from tfgpu_tui.core import knobs, python_options
from tfgpu_tui.runs import configuration, interpreter, rundir
from tfgpu_tui.supervisor import launch

STATUS_EVERY_S = 5.0
VERBS = ("run", "attach", "runs", "prune", "stop", "replay", "report", "compare", "explain", "doctor")
_WITH_VALUE = ("--report-json", "--set", "--python", "--stop-after", "--interval", "--config", "--theme")
_FOR_THE_SCREEN = ("config", "interval", "plain", "ascii", "theme")
"""Options that may also stand before a verb."""
MOST_STEPS = 10**15
MOST_WORDS = 2000
"""Characters of a refusal: it may hold what was typed."""
GONE = "the current folder does not exist any more: change to another one"

HELP = """\
Shows where a TensorFlow training's time goes, while it runs, and what to change next.

  tfgpu-tui train.py --epochs 3          run a script and watch it
  tfgpu-tui -m package.train             run a module and watch it
  tfgpu-tui --headless train.py          no screen: the script's own output, then a report (for CI and batch jobs)
  tfgpu-tui --set memory_growth=on train.py
  tfgpu-tui attach                       come back to a running training, from any terminal
  tfgpu-tui doctor                       will TensorFlow use a GPU here, and if not, why?

The script needs no change. Everything after its name is the script's own, options included; Python's own options stand
before it (tfgpu-tui -u -X dev train.py). Closing the terminal does not stop a training: `attach` comes back to it.

usage: tfgpu-tui [options] train.py [its arguments …]
       tfgpu-tui [options] -m package.module [its arguments …]
       tfgpu-tui [options] -c code | folder with a __main__.py | zipapp [its arguments …]
       tfgpu-tui attach [RUN]              the screen of a run (default: the newest that is running)
       tfgpu-tui runs [--json]             all runs
       tfgpu-tui prune                     delete old runs: --keep N, --older-than DAYS, --total-size 2G
       tfgpu-tui stop RUN                  stop a run after its current batch
       tfgpu-tui replay RUN                watch a run again;  --svg FILE writes a picture of the screen
       tfgpu-tui report RUN [--json]       what was found in a run;  --html FILE, --tensorboard DIR
       tfgpu-tui compare RUN RUN [--json]  the measured difference between two runs
       tfgpu-tui explain [ID] [--json]     what a finding means, and what to do about it; without ID: all findings
       tfgpu-tui doctor [--json]           exit status 0: a GPU will be used; 1: it won't, and why; 2: can't tell

RUN is an id, the beginning of one, `last`, or a path. A script named like one of these words runs as ./attach.

options:
"""


class UsageError(Exception):
    """The command can't be carried out as it was typed; the text is a whole sentence."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message:.{MOST_WORDS // 2}} (tfgpu-tui --help shows what there is)")

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse's own passes over a full disk in silence


class Command(NamedTuple):
    """The command line taken apart: the tool's options, the verb, what belongs to the verb or the script, and Python's
    own options in front of that."""

    options: list[str]
    verb: str
    rest: list[str]
    python: list[str] = []


def split(arguments: Sequence[str]) -> Command:
    """Where the tool's options end: at the script, at `-m` or `-c`, at `--`, or at a verb. What follows is not looked
    at."""
    options: list[str] = []
    python: list[str] = []
    left = list(arguments)
    while left:
        word = left[0]
        if word == "--":
            return Command(options, "run", left[1:], python)
        if taken := python_options.take(left):
            python, left = python + taken.options, taken.rest
            if taken.runs:
                return Command(options, "run", taken.runs + left, python)
        elif not word.startswith("-") or word == "-":
            if word in VERBS:
                return Command(options, word, left[1:], python)
            return Command(options, "run", left, python)
        else:
            count = 2 if word in _WITH_VALUE else 1
            options, left = options + left[:count], left[count:]
    return Command(options, "run", [], python)


def _options_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tfgpu-tui",
        usage=argparse.SUPPRESS,
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    group = parser.add_argument_group()
    add = group.add_argument
    add("--headless", action="store_true", default=None, help="no screen: the script's stdout and stderr as they are, "
        "and a report on stderr at the end; chosen by itself without a terminal")  # fmt: skip
    add("--report-json", metavar="PATH", help="also write the report there when the run ends, however it ends")
    add("--set", metavar="KNOB=VALUE", action="append", default=[], help="change a setting for this run, as often as "
        "needed")  # fmt: skip
    add("--list-knobs", action="store_true", help="what --set can change")
    add("--python", metavar="PATH", help="the interpreter (default: the active environment's python)")
    add("--stop-after", metavar="STEPS", help="end the training after so many steps, for a quick look")
    add("--plain", action="store_true", default=None, help="a line of text every few seconds, not the screen")
    _add_screen_options(group)
    add("--version", action="store_true", help="show the version of this tool")
    add("-h", "--help", action="help", help="show this text")
    return parser


def _add_screen_options(parser: Any) -> None:
    add = parser.add_argument
    add("--interval", metavar="SECONDS", help="how often the machine is sampled (default 0.5)")
    default = str(configuration.default_path() or "none: there is no home folder").replace("%", "%%")
    add("--config", metavar="FILE", help=f"settings (default {default})")
    add("--ascii", action="store_true", default=None, help="draw with plain ASCII characters")
    add("--theme", metavar="NAME", help="colours of the screen, e.g. ansi-dark, textual-dark, textual-light")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. A command that can't be carried out is one line on stderr and exit
    status 2, a mistake of the tool's own one line and 70 (see `mishap`).

    Without `arguments` it is a process's own command: what the user asks of python by its environment is for the
    script, and neither warnings of ours nor a prompt at our end (PYTHONINSPECT) come into its output."""
    if arguments is not None:
        return _status(arguments)
    warnings.simplefilter("ignore")
    streams.prepare()
    status = _status(sys.argv[1:])
    if sys.flags.inspect:
        os._exit(status)
    return status


def _status(arguments: Sequence[str]) -> int:
    try:
        status = _carried_out(arguments)
        sys.stdout.flush()
        return status
    except streams.Unwritable as error:
        return _refuse(f"stdout can't be written: {error}")
    except BrokenPipeError:  # `tfgpu-tui runs | head`
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        streams.let_go()


def _carried_out(arguments: Sequence[str]) -> int:
    try:
        return _dispatch(split(arguments))
    except SystemExit as ended:  # argparse, after --help
        return ended.code if isinstance(ended.code, int) else 0
    except (BrokenPipeError, streams.Unwritable):
        raise
    except (
        UsageError,
        configuration.ConfigError,
        interpreter.InterpreterError,
        knobs.KnobError,
        launch.ControlError,
        rundir.RunNotFound,
        rundir.StateDirError,
    ) as error:
        return _refuse(str(error))
    except OSError as error:
        if _folder_is_gone():
            return _refuse(GONE)
        if isinstance(error.filename, (str, bytes)):
            return _refuse(f"{os.fsdecode(error.filename):.300}: {error.strerror}")
        return _net(error)
    except Exception as error:
        return _net(error)


def _refuse(words: str, status: int = 2) -> int:
    """One line on stderr, and the exit status."""
    from tfgpu_tui.terminal.lines import printable  # late: only for a refusal

    with contextlib.suppress(OSError):
        print(printable(f"tfgpu-tui: {words:.{MOST_WORDS}}"), file=sys.stderr, flush=True)
    return status


def _net(error: Exception) -> int:
    """What nobody foresaw must not end in a page of our own lines."""
    from tfgpu_tui.cli import mishap

    return _refuse(mishap.sentence(error), mishap.STATUS)


def _dispatch(command: Command) -> int:
    if command.verb == "run" and not (command.options or command.python or command.rest):
        print(HELP.split("\noptions:")[0])
        return 2
    options = _options_parser().parse_args(command.options)
    if options.version:
        print(f"tfgpu-tui {tfgpu_tui.__version__}")
        return 0
    if options.list_knobs:
        from tfgpu_tui.terminal.long_lines import for_output

        print(for_output(knobs.describe()))
        return 0
    if command.verb == "run":
        if not command.rest:
            raise UsageError("which script? For example: tfgpu-tui train.py")
        return _run(options, [*command.python, *_checked(command.rest)])
    return _verb(command, options)


def settings_of(options: argparse.Namespace) -> configuration.Settings:
    """The settings with this command line's flags. Raises config.ConfigError."""
    flags: dict[str, Any] = {
        name: getattr(options, name, None) for name in ("python", "headless", "plain", "ascii", "theme")
    }
    if getattr(options, "interval", None) is not None:
        flags["interval_s"] = configuration.interval(options.interval, "--interval")
    settings = configuration.load(flags, file=getattr(options, "config", None))
    if settings.keys:
        from tfgpu_tui.ui import keys  # late: knows Textual's names of keys

        keys.remapped(settings.keys)  # a mistake is said before the script starts
    return settings


def screen_is_possible() -> bool:
    """Textual draws on stderr and reads stdin: both must be a terminal that can do more than print lines."""
    return os.isatty(0) and os.isatty(2) and os.environ.get("TERM", "dumb") not in ("dumb", "")


def _run(options: argparse.Namespace, command: list[str]) -> int:
    settings = settings_of(options)
    spec = launch.LaunchSpec(
        argv=command,
        cwd=_current_folder(),
        python=interpreter.choose(settings.python),
        knobs=knobs.parse([*(f"{name}={value}" for name, value in settings.knobs.items()), *options.set]),
        interval_s=settings.interval_s,
        stop_after=_stop_after(options.stop_after),
        report_json=_writable(options.report_json, _files_of(command, options)),
    )
    if settings.headless or settings.plain or not screen_is_possible():
        from tfgpu_tui.supervisor.main import run_foreground

        # On a terminal that can't show the screen, something should still show that the training lives.
        lines = settings.plain or (not settings.headless and os.isatty(2))
        return run_foreground(launch.create(spec, "headless"), STATUS_EVERY_S if lines else None)
    if spec.report_json is not None and _descriptor_of(spec.report_json) is not None:
        why = "beside the screen the report can't go to a descriptor of this terminal"
        raise UsageError(f"--report-json {options.report_json}: {why}; give a file's name, or --headless, too")
    from tfgpu_tui.cli import opening

    size = os.get_terminal_size(2)
    # A terminal that does not know its size says 0, as over a serial line.
    return opening.start_and_show(spec._replace(columns=size.columns or 80, rows=size.lines or 24), settings)


def _checked(command: list[str]) -> list[str]:
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
        raise UsageError(GONE if _folder_is_gone() else f"there is no script {script}") from None
    except OSError as error:
        raise UsageError(f"the script {command[0]:.300} can't be reached: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode) and not (script / "__main__.py").is_file():
        raise UsageError(f"{script} is a folder without a __main__.py: give the script in it, or -m for a package")
    if not os.access(script, os.R_OK):
        raise UsageError(f"{script} can't be read: permission denied")
    return command


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError(GONE) from None


def _folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _stop_after(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > len(str(MOST_STEPS)) or not 1 <= int(text) <= MOST_STEPS:
        raise UsageError(f"--stop-after {text:.40}: give a whole number of steps, 1 or more (and at most {MOST_STEPS})")
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


def _verb(command: Command, options: argparse.Namespace) -> int:
    from tfgpu_tui.cli import verbs

    foreign = [word for word in command.options if word.startswith("--")] + command.python[:1]
    allowed = {f"--{name}" for name in _FOR_THE_SCREEN}
    if refused := [word for word in foreign if word.partition("=")[0] not in allowed]:
        raise UsageError(f"{refused[0]} is for running a script, not for `{command.verb}`")
    parser = _Parser(prog=f"tfgpu-tui {command.verb}", allow_abbrev=False)
    add = parser.add_argument
    if command.verb in ("attach", "replay"):
        _add_screen_options(parser)
        add("--plain", action="store_true", default=None, help="lines of text, not the screen")
    if command.verb == "attach":
        add("run", nargs="?", metavar="RUN", help="default: the newest run that is running, else the newest")
    if command.verb in ("stop", "replay", "report"):
        add("run", metavar="RUN", help="an id, the beginning of one, `last`, or a path")
    if command.verb == "compare":
        add("before", metavar="RUN")
        add("after", metavar="RUN")
        _add_screen_options(parser)
        add("--svg", metavar="FILE", help="write a picture of the screen that compares them there")
        add("--size", metavar="COLUMNSxROWS", help="with --svg: default 120x40")
    if command.verb in ("runs", "report", "compare", "explain", "doctor"):
        add("--json", action="store_true", help="for scripts")
    if command.verb == "explain":
        add("id", nargs="?", metavar="ID", help="as a report names it, for example input.bound (default: the list)")
    if command.verb == "runs":
        add("--prune", nargs="?", type=int, const=20, metavar="KEEP", help="delete all but the newest KEEP (20) runs")
    if command.verb == "prune":
        add("--keep", type=int, metavar="N", help="keep the newest N (20, where nothing else is said)")
        add("--older-than", type=float, metavar="DAYS", help="delete what was started longer ago")
        add("--total-size", metavar="SIZE", help="delete the oldest until all runs together are smaller, e.g. 2G")
    if command.verb == "stop":
        add("--stage", choices=launch.STAGES, default="batch", help="how to begin; harder ones follow by themselves")
    if command.verb == "replay":
        add("--speed", type=float, default=1.0, metavar="TIMES", help="2 is twice as fast")
        add("--svg", metavar="FILE", help="no screen: write a picture of it there")
        add("--at", type=float, metavar="SECONDS", help="with --svg: at this time of the run (default: its end)")
        add("--size", metavar="COLUMNSxROWS", help="with --svg: default 120x40")
    if command.verb == "report":
        add("--html", metavar="FILE", help="one page with plots, that opens without a network")
        add("--tensorboard", metavar="DIR", help="series and findings as event files for TensorBoard")
    if command.verb == "doctor":
        add("--python", metavar="PATH", help="the interpreter to look at (default: the active environment's)")
    chosen = parser.parse_args(command.rest)
    for name in _FOR_THE_SCREEN:  # what stood before the verb counts unless it is said again behind it
        if getattr(chosen, name, None) is None:
            setattr(chosen, name, getattr(options, name))
    return verbs.ALL[command.verb](chosen)


if __name__ == "__main__":
    sys.exit(main())
