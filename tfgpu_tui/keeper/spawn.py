"""Starts the script: in a terminal of its own, which is the first thing that the keeper does, or with its caller's
streams. Imports next to nothing: the user waits for the script's first line."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping

_OF_A_TERMINAL = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
)
"""A launcher under nohup hands down ignored signals: a fresh terminal starts with none of these."""
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by each python as it starts (initsigs in pylifecycle.c)."""
_ADDITION = "TFGPU_TUI_ADDITION_"


class Spawned:
    """A script that runs: its process, the master side of its terminal, and when it was started."""

    def __init__(self, pid: int, terminal: int, started: float) -> None:
        self.pid = pid
        self.terminal = terminal
        self.started = started
        """time.monotonic() just before."""


class Order:
    """What the keeper is to start. Its command line, which every user of the machine can read, says RUN_FOLDER LISTENER
    COLUMNS ROWS BLOCKED COMMAND …, where LISTENER is the descriptor of the run's socket (-1: there is none) and BLOCKED
    are the signals that the launcher's caller blocks, numbers with commas between them; its environment, which is its
    user's alone, holds what the script's has besides ours. The current folder is the script's."""

    def __init__(self, words: list[str], environment: MutableMapping[str, str]) -> None:
        """Takes the additions out of `environment`, which is our own."""
        self.run_folder = words[0]
        self.listener, self.columns, self.rows = map(int, words[1:4])
        self.blocked = set(map(int, filter(None, words[4].split(","))))
        self.command = words[5:]
        names = [name for name in environment if name.startswith(_ADDITION)]
        self.additions = {name[len(_ADDITION) :]: environment.pop(name) for name in names}

    @staticmethod
    def words(
        run_folder: str, listener: int, columns: int, rows: int, blocked: Collection[int], command: list[str]
    ) -> list[str]:
        """The command line that says this."""
        numbers = [str(number) for number in (listener, columns, rows)]
        return [run_folder, *numbers, ",".join(str(int(number)) for number in blocked), *command]

    @staticmethod
    def environment(base: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
        """The keeper's environment that says this."""
        return {**base, **{_ADDITION + name: value for name, value in additions.items()}}


def carry_out(order: Order) -> Spawned | str:
    """The script, or why it can't be started."""
    if order.listener >= 0:
        os.set_inheritable(order.listener, False)
    try:
        return in_terminal(order)
    except OSError as error:
        return reason(error, order.command[0])
    finally:
        _close_callers_descriptors()


def reason(error: OSError, interpreter: str) -> str:
    """Why it can't be started: the kernel's words, and the path where they mean another one (the working folder)."""
    words = error.strerror or str(error)
    return words if error.filename in (None, interpreter) else f"{words}: {error.filename}"


def _close_callers_descriptors() -> None:
    """Those that the script has inherited: only it, and none of us, holds the caller's pipes open."""
    for number in inheritable():
        os.close(number)


def inheritable() -> list[int]:
    """Open descriptors above stderr that a program which is started gets; none are known where there is no /proc."""
    found = []
    try:
        numbers = map(int, os.listdir("/proc/self/fd"))
    except OSError:
        return []
    for number in numbers:
        try:
            if number > 2 and os.get_inheritable(number):
                found.append(number)
        except OSError:
            pass  # that of the listing itself
    return found


def script_environment(base: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a script that this process starts; `start` adds the script's own number."""
    env = {**base, **additions}
    if "TFGPU_TUI_STOP_AFTER" not in additions:
        env.pop("TFGPU_TUI_STOP_AFTER", None)  # of an outer run, when one monitored script starts another
    return env


def in_terminal(order: Order) -> Spawned:
    """Starts the script as the leader of its own session, with a new PTY as its controlling terminal, so that its
    output is as live as in a shell and SIGWINCH, Ctrl+C and hang-ups mean what they mean there. Raises OSError where
    the interpreter can't be started."""
    started = time.monotonic()
    env = script_environment(os.environ, order.additions)
    master, slave = os.openpty()

    def enter_terminal() -> None:
        os.setsid()
        for stream in (0, 1, 2):
            os.dup2(slave, stream)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in _OF_A_TERMINAL:
            signal.signal(number, signal.SIG_DFL)

    try:
        set_window_size(master, order.columns, order.rows)
        pid = start(order.command, env, order.blocked, enter_terminal)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return Spawned(pid, master, started)


def start(command: list[str], env: dict[str, str], blocked: Collection[int], prepare: Callable[[], None]) -> int:
    """Starts the script by fork and exec, `prepare()` between the two; returns its process. Raises OSError.

    To the script goes what our caller handed down to us: ignored signals, an alarm clock, and those that it has
    `blocked`. This process itself blocks every signal from here on, until it says what it makes of them, and hears of
    its children's ends: a caller that ignores SIGCHLD would have the kernel throw exit statuses away. By hand, because
    `subprocess` takes some milliseconds to import, and because the script is told its own number. This process has one
    thread.
    """
    answer, failed = os.pipe()  # closed by an exec that works
    on_child = signal.getsignal(signal.SIGCHLD)
    if on_child == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    alarm = signal.setitimer(signal.ITIMER_REAL, 0)  # survives an exec, and not a fork
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        try:
            _without_handlers()
            if on_child == signal.SIG_IGN:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            prepare()
            env["TFGPU_TUI_SCRIPT"] = str(os.getpid())
            signal.setitimer(signal.ITIMER_REAL, *alarm)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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


def _without_handlers() -> None:
    """As exec would have it, and before: a signal that comes meanwhile is the script's, and not lost in ours."""
    for number in signal.valid_signals():
        if number in _PYTHONS_OWN or callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def set_window_size(terminal: int, columns: int, rows: int) -> None:
    """Sets a PTY's size; the kernel tells the script by SIGWINCH. Sizes outside 1..4096 are brought inside."""
    columns, rows = (min(max(int(value), 1), 4096) for value in (columns, rows))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
