"""The command line taken apart: where the tool's own options end, and what they are.

Nothing heavy is imported in here: `--help` must be instant, and a script starts before the screen is loaded.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn

from tfgpu_tui.cli import table
from tfgpu_tui.cli.refusals import MOST_WORDS, UsageError
from tfgpu_tui.core import python_options

_WITH_VALUE = ("--report-json", "--set", "--python", "--stop-after", "--interval", "--config", "--theme",
               "--on-finding", "--on-finding-severity", "--metrics", "--stall-after")  # fmt: skip
FOR_THE_SCREEN = ("config", "interval", "plain", "ascii", "theme")
"""Options that may also stand before a verb."""

USAGE = """\
Shows where a TensorFlow training's time goes, while it runs, and what to change next.

  tfgpu-tui demo                         see it on a training of its own, or on a recording
  tfgpu-tui train.py --epochs 3          run a script and watch it
  tfgpu-tui -m package.train             run a module and watch it
  tfgpu-tui --headless train.py          no screen: the script's own output, then a report (for CI and batch jobs)
  tfgpu-tui --set memory_growth=on train.py
  tfgpu-tui attach                       come back to a running training, from any terminal
  tfgpu-tui doctor                       will TensorFlow use a GPU here, and if not, why?

The script needs no change. Everything after its name is the script's own, options included; Python's own options \
stand before it (tfgpu-tui -u -X dev train.py). \
Closing the terminal does not stop a training: `attach` comes back to it.

usage: tfgpu-tui [options] train.py [its arguments …]
       tfgpu-tui [options] -m package.module [its arguments …]
       tfgpu-tui [options] -c code | folder | zipapp [its arguments …]
{verbs}

RUN is an id, the beginning of one, `last`, or a path. A script named like one of these words runs as ./attach.

options:
"""


class Parser(argparse.ArgumentParser):
    """Refuses as the rest of the command line does, in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message:.{MOST_WORDS // 2}} ({self.prog} --help shows what there is)")

    def print_help(self, file: Any = None) -> None:
        print(_wrapped(self.format_help()), file=file)  # argparse's own passes over a full disk in silence


def _wrapped(text: str) -> str:
    """A text whose lines fit the terminal; what is left of a long one goes on below its second column."""
    import shutil  # late: few runs show help
    import textwrap

    columns, out = min(120, shutil.get_terminal_size().columns), []
    for line in text.splitlines():
        column = re.match(r" +\S.*?  +| *", line)
        indent = " " * len(column[0]) if column else ""
        out += textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(out)


class Command(NamedTuple):
    """The command line taken apart: the tool's options, the verb, what belongs to the verb or the script, and Python's
    own options in front of that."""

    options: list[str]
    verb: str
    rest: list[str]
    python: list[str] = []


def split(arguments: Sequence[str], with_value: Collection[str] = _WITH_VALUE, verbs: bool = True) -> Command:
    """Where the tool's options end: at the script, at `-m` or `-c`, at `--`, or at a verb (where there may be one).
    What follows is not looked at."""
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
            if verbs and (word == "run" or word in table.VERBS):
                return Command(options, word, left[1:], python)
            return Command(options, "run", left, python)
        else:
            count = 2 if word in with_value else 1
            options, left = options + left[:count], left[count:]
    return Command(options, "run", [], python)


def usage() -> str:
    """What `--help` says above the options."""
    rows = (f"       tfgpu-tui {f'{name} {verb.takes}'.rstrip():<26}{verb.help}" for name, verb in table.VERBS.items())
    return USAGE.format(verbs="\n".join(rows))


def options_parser() -> argparse.ArgumentParser:
    """The options that stand before the script, or before a verb."""
    parser = Parser(
        prog="tfgpu-tui",
        usage=argparse.SUPPRESS,
        description=usage(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    group = parser.add_argument_group()
    add = group.add_argument
    table.add_run_options(group)
    add("--list-knobs", action="store_true", help="what --set can change")
    table.add_screen_options(group)
    add("--version", action="store_true", help="show the version of this tool")
    add("-h", "--help", action="help", help="show this text")
    return parser


def of_verb(command: Command, options: argparse.Namespace) -> argparse.Namespace:
    """What was typed behind a verb; `options` are those before it. Raises UsageError."""
    foreign = [word for word in command.options if word.startswith("--")] + command.python[:1]
    parser = Parser(prog=f"tfgpu-tui {command.verb}", allow_abbrev=False)
    table.VERBS[command.verb].arguments(parser)
    own = {option: action.dest for action in parser._actions for option in action.option_strings}
    allowed = {f"--{name}" for name in FOR_THE_SCREEN} | own.keys()
    if refused := [word for word in foreign if word.partition("=")[0] not in allowed]:
        raise UsageError(f"{refused[0]} is for running a script, not for `{command.verb}`")
    chosen = _with_script(parser, command.rest) if table.VERBS[command.verb].script else parser.parse_args(command.rest)
    for name, before in vars(options).items():  # what stood before the verb counts unless it is said again behind it
        if name in {*FOR_THE_SCREEN, *own.values()} and getattr(chosen, name, None) in (None, []):
            setattr(chosen, name, before)
    return chosen


def _with_script(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options of a verb that runs a script, with `words` and `python_options`: what stands behind them."""
    takes = [option for action in parser._actions for option in action.option_strings if action.nargs is None]
    parser.usage = f"{parser.format_usage().removeprefix('usage: ').rstrip()}\n{' ' * 7}train.py [its arguments …]"
    inner = split(words, takes, verbs=False)
    chosen = parser.parse_args(inner.options)
    chosen.words, chosen.python_options = inner.rest, inner.python
    return chosen
