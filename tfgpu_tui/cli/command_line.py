"""The entry: one command line is carried out, and whatever goes wrong with it is one line and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence

import tfgpu_tui
from tfgpu_tui.cli import arguments, streams, table
from tfgpu_tui.cli.refusals import GONE, MOST_WORDS, UsageError, folder_is_gone
from tfgpu_tui.core import knobs
from tfgpu_tui.runs import configuration, interpreter, rundir
from tfgpu_tui.supervisor import launch


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. A command that can't be carried out is one line on stderr and exit
    status 2, a mistake of the tool's own one line and 70 (see `mishap`).

    Without `words` it is a process's own command: what the user asks of python by its environment is for the
    script, and neither warnings of ours nor a prompt at our end (PYTHONINSPECT) come into its output."""
    if words is not None:
        return _status(words)
    warnings.simplefilter("ignore")
    streams.prepare()
    status = _status(sys.argv[1:])
    if sys.flags.inspect:
        os._exit(status)
    return status


def _status(words: Sequence[str]) -> int:
    try:
        status = _carried_out(words)
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


def _carried_out(words: Sequence[str]) -> int:
    try:
        return _dispatch(arguments.split(words))
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
        if folder_is_gone():
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


def _dispatch(command: arguments.Command) -> int:
    if command.verb == "run" and not (command.options or command.python or command.rest):
        print(arguments.usage().split("\noptions:")[0])
        return 2
    options = arguments.options_parser().parse_args(command.options)
    if options.version:
        print(f"tfgpu-tui {tfgpu_tui.__version__}")
        return 0
    if options.list_knobs:
        from tfgpu_tui.terminal.long_lines import for_output

        print(for_output(knobs.describe()))
        return 0
    if command.verb != "run":
        return table.VERBS[command.verb].run(arguments.of_verb(command, options))
    if not command.rest:
        raise UsageError("which script? For example: tfgpu-tui train.py")
    from tfgpu_tui.cli import starting

    return starting.run(options, command.rest, command.python)


if __name__ == "__main__":
    sys.exit(main())
