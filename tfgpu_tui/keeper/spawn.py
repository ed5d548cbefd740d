"""Starts the script in a terminal of its own: the first thing that the keeper does, so it imports next to nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import time

_DEFAULTS = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)
"""A launcher under nohup hands down ignored signals, Python ignores the last two: a fresh terminal starts with none."""


class Spawned:
    """A script that runs: its process, the master side of its terminal, and when it was started."""

    def __init__(self, pid: int, terminal: int, started: float) -> None:
        self.pid = pid
        self.terminal = terminal
        self.started = started
        """time.monotonic() just before."""


class Order:
    """What the keeper is to start, as its command line says it: RUN_FOLDER LISTENER COLUMNS ROWS [NAME=VALUE …] --
    COMMAND …, where LISTENER is the descriptor of the run's socket (-1: there is none) and the pairs are what the
    script's environment has besides ours. The current folder is the script's."""

    def __init__(self, words: list[str]) -> None:
        end = words.index("--")
        self.run_folder = words[0]
        self.listener, self.columns, self.rows = map(int, words[1:4])
        self.additions = dict(pair.split("=", 1) for pair in words[4:end])
        self.command = words[end + 1 :]

    @staticmethod
    def words(
        run_folder: str, listener: int, columns: int, rows: int, additions: dict[str, str], command: list[str]
    ) -> list[str]:
        """The command line that says this."""
        numbers = [str(number) for number in (listener, columns, rows)]
        return [run_folder, *numbers, *(f"{name}={value}" for name, value in additions.items()), "--", *command]


def carry_out(order: Order) -> Spawned | str:
    """The script, or why it can't be started."""
    if order.listener >= 0:
        os.set_inheritable(order.listener, False)
    try:
        return in_terminal(order.command, order.additions, order.columns, order.rows)
    except OSError as error:
        return reason(error, order.command[0])


def reason(error: OSError, interpreter: str) -> str:
    """Why it can't be started: the kernel's words, and the path where they mean another one (the working folder)."""
    words = error.strerror or str(error)
    return words if error.filename in (None, interpreter) else f"{words}: {error.filename}"


def script_environment(base: dict[str, str], additions: dict[str, str]) -> dict[str, str]:
    """The environment of a script that this process starts."""
    env = {**base, **additions, "TFGPU_TUI_PARENT": str(os.getpid())}
    if "TFGPU_TUI_STOP_AFTER" not in additions:
        env.pop("TFGPU_TUI_STOP_AFTER", None)  # of an outer run, when one monitored script starts another
    return env


def in_terminal(command: list[str], additions: dict[str, str], columns: int, rows: int) -> Spawned:
    """Starts the script as the leader of its own session, with a new PTY as its controlling terminal, so that its
    output is as live as in a shell and SIGWINCH, Ctrl+C and hang-ups mean what they mean there. `additions` are what
    its environment has besides ours. Raises OSError where the interpreter can't be started."""
    started = time.monotonic()
    env = script_environment(dict(os.environ), additions)
    master, slave = os.openpty()
    try:
        set_window_size(master, columns, rows)
        pid = _start(command, env, slave)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return Spawned(pid, master, started)


def _start(command: list[str], env: dict[str, str], terminal: int) -> int:
    """fork and exec by hand: `subprocess` takes some milliseconds to import, and this process has one thread."""
    answer, failed = os.pipe()  # closed by an exec that works
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for stream in (0, 1, 2):
                os.dup2(terminal, stream)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in _DEFAULTS:
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(command[0], command, env)
        except OSError as error:
            os.write(failed, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(failed)
    with open(answer, "rb") as pipe:
        number_text = pipe.read()
    if number_text:
        os.waitpid(pid, 0)
        raise OSError(int(number_text), os.strerror(int(number_text)), command[0])
    return pid


def set_window_size(terminal: int, columns: int, rows: int) -> None:
    """Sets a PTY's size; the kernel tells the script by SIGWINCH. Sizes outside 1..4096 are brought inside."""
    columns, rows = (min(max(int(value), 1), 4096) for value in (columns, rows))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
