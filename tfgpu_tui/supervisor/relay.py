"""The signals of a headless run, passed on to its script: each one once, and none that the script got by itself.

A scheduler signals the process that it started, which is this one; a terminal, `kill -- -GROUP` and `timeout` signal
the group, and Slurm all processes of a step: then the script has it already, and a handler that saves a checkpoint
must not run twice. A signal does not tell which of the two it was. So a *witness* stands beside the script, a child
that does nothing but tell what it got: what it got too was sent to everybody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

SETTLE_S = 0.1
"""Within so much time a sender reaches all that it means, and the witness tells."""
STOP_WITHIN_S = 60.0
"""A script that is told to stop (SIGTSTP) may save its state first."""
FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)  # fmt: skip
"""Of the very process that gets them: with a handler in Python the faulting instruction would run for ever. (abort()
ends a process whatever its handler of SIGABRT does.)"""
_NOT_OURS = FAULTS | {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}
"""Python ignores the last two of itself, and writes of our own would raise them."""
_STOPPING = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_OF_TERMINAL = _STOPPING | {signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH}


class Relay:
    """From its making on no signal ends this process, or is lost; from `attach` on they go to the script."""

    def __init__(self) -> None:
        self._on_child: Callable[[], object] = lambda: None
        self._on_other: Callable[[signal.Signals], object] | None = None
        self._untold: list[signal.Signals] = []
        """Signals that came before anybody was to be informed of them."""
        self.witness: int | None = None
        """The witness's process, where there could be one."""
        self._script = 0
        self._words: socket.socket | None = None
        self._direct = False
        self._due: dict[int, float] = {}
        """Signals that may have been for this process alone -> when that is decided (monotonic)."""
        self._witnessed: dict[int, float] = {}
        self._stop_until = 0.0
        self._inbox, outbox = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(outbox, warn_on_full_buffer=False)
        self._handled = set(signal.valid_signals() - _NOT_OURS - {signal.SIGCHLD})
        self.ignored = {number for number in self._handled if signal.getsignal(number) is signal.SIG_IGN}
        """By the caller, and so in the script, until that handles them itself: they are passed on as the others are."""
        for number in self._handled:
            signal.signal(number, self._on_signal)

    def attach(self, script: int, command: Sequence[str]) -> None:
        """Right after the script's start: sends it what came before, and everything that comes."""
        self._script = script
        self._start_witness(command)
        self._handled.add(signal.SIGCHLD)  # only now: a caller that ignores it has it ignored in the script
        signal.signal(signal.SIGCHLD, self._on_signal)
        import threading  # late: the script was waiting

        # What the caller had blocked is blocked in the script, and pending there; in here it would be lost.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._handled)
        try:
            threading.Thread(target=self._pass_on, name="signals", daemon=True).start()
        except RuntimeError:  # no process more for this user
            self._direct = True
            for number in self._read(self._inbox):
                self._on_signal(number, None)
        # A job in the background may write its report to a terminal with `stty tostop`: the kernel asks whether this
        # is blocked. The thread still gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})

    def inform(self, on_child: Callable[[], object], on_other: Callable[[signal.Signals], object]) -> None:
        """Calls, in a thread of the relay's own, `on_child()` whenever a child ended or stopped, and `on_other(number)`
        with each other signal that has a name, also those before. They may raise RuntimeError: their event loop is
        closed."""
        self._on_child, self._on_other = on_child, on_other
        self._tell()

    def close(self) -> None:
        """The end: no signal changes the exit status from here on, and nothing is left behind."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._handled)
        if self.witness is not None:
            _signal_child(self.witness, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.witness, 0)
            self.witness = None

    def _on_signal(self, number: int, frame: object) -> None:
        """The interpreter itself has written the number into the inbox; only without a thread there is more to do."""
        if self._direct and number not in _OF_TERMINAL:
            self._send(number)

    # The witness

    def _start_witness(self, command: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # without one, what a terminal sends to the group is not passed on
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            # A child writes its signals into this process's own inbox until it has another one.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handled)
            try:
                self.witness = os.fork() or _bear_witness(theirs.fileno(), command)
                self._words = ours
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                theirs.close()

    def _pending_at_witness(self, number: int) -> bool:
        """It was sent there, too, and a busy machine has not let the witness run yet (proc(5))."""
        with contextlib.suppress(OSError), open(f"/proc/{self.witness}/status") as status:
            for line in status:
                if line.startswith(("SigPnd:", "ShdPnd:")) and int(line[7:], 16) >> (number - 1) & 1:
                    return True
        return False

    # The thread

    def _pass_on(self) -> None:
        import select

        # The main thread gets them: the end of the interpreter is safe from signals once they are blocked there.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._handled - {signal.SIGTTOU})
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        words = self._words.fileno() if self._words is not None else -1
        if words >= 0:
            poll.register(words, select.POLLIN)
        while True:
            for fd, _ in poll.poll(self._patience_ms()):
                numbers = self._read(fd)
                if not numbers:
                    poll.unregister(fd)  # somebody killed the witness
                for number in numbers:
                    (self._hear if fd == words else self._get)(number, time.monotonic())
            self._decide(time.monotonic())
            self._stop_with_script()

    def _tell(self) -> None:
        """Two threads may be in here."""
        with contextlib.suppress(IndexError):
            while self._on_other is not None:
                self._on_other(self._untold.pop(0))

    def _read(self, fd: int) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(fd, 4096)
        return b""

    def _patience_ms(self) -> float | None:
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - time.monotonic()) * 1000 + 1

    def _hear(self, number: int, now: float) -> None:
        """A script that left our group (`setpgid`, `setsid`) was not reached by what was sent to that."""
        if self._script_is_beside_us():
            self._witnessed[number] = now
            self._due.pop(number, None)

    def _script_is_beside_us(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(self._script) == os.getpgrp()
        return True

    def _get(self, number: int, now: float) -> None:
        with contextlib.suppress(RuntimeError, ValueError):
            if number == signal.SIGCHLD:
                self._on_child()
            else:
                self._untold.append(signal.Signals(number))
                self._tell()
        if number == signal.SIGCHLD:
            return
        if number in _STOPPING:
            self._stop_until = now + STOP_WITHIN_S
        elif number == signal.SIGCONT:
            self._stop_until = 0.0
        sent_to_all = self.witness is None and number in _OF_TERMINAL
        if not sent_to_all and now - self._witnessed.get(number, -SETTLE_S) >= SETTLE_S:
            self._due.setdefault(number, now + SETTLE_S)

    def _decide(self, now: float) -> None:
        for number in [number for number, due in self._due.items() if due <= now]:
            if self._script_is_beside_us() and self._pending_at_witness(number):
                self._due[number] = now + SETTLE_S
            else:
                del self._due[number]
                self._send(number)

    def _send(self, number: int) -> None:
        """To the script alone. The witness takes part in a continuation: a stop of the group stopped it, too."""
        if number == signal.SIGCONT and self.witness is not None:
            _signal_child(self.witness, number)
        _signal_child(self._script, number)

    def _stop_with_script(self) -> None:
        """A shell looks at this process to know whether its job is stopped: it is once the script has stopped, which
        may take its time, or not do it at all."""
        if time.monotonic() < self._stop_until:
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self._script, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None:
                    self._stop_until = 0.0
                    os.kill(os.getpid(), signal.SIGSTOP)


def _signal_child(pid: int, number: int) -> None:
    """One that was waited for is no child any more (ChildProcessError): its number may be another's."""
    with contextlib.suppress(ChildProcessError, ProcessLookupError, PermissionError):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(pid, number)


def _bear_witness(words: int, command: Sequence[str]) -> int:
    """The witness's life, right after the fork: the interpreter writes the number of each signal to `words`, until the
    other end is closed, which the end of the tool does in any case. Never returns."""
    try:
        import select

        _close_all_but(words)
        _look_like(command)
        signal.set_wakeup_fd(words, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        end = select.poll()
        end.register(words, select.POLLIN)
        end.poll()
    finally:
        os._exit(0)


def _close_all_but(kept: int) -> None:
    """The caller's pipes end with the script and the tool. (Closing up to a limit of a billion may take minutes.)"""
    os.closerange(0, kept)
    try:
        others = max(map(int, os.listdir("/proc/self/fd")))
    except OSError:
        others = 1023
    os.closerange(kept + 1, others + 1)


def _look_like(command: Sequence[str]) -> None:
    """Gives this process the script's name and command line: who signals by name (`pkill python`, `pkill -f train.py`,
    and not `pkill tfgpu-tui`) means the witness wherever the script is meant. In a longer command line there is
    room for the other one; what does not fit is left out (/proc/PID/mem and fields 48 and 49 of /proc/PID/stat)."""
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/comm", "w") as name:
            name.write(os.path.basename(command[0]))
        with open("/proc/self/stat", "rb") as stat:
            begin, end = map(int, stat.read().rpartition(b")")[2].split()[45:47])
        text = b"\0".join(map(os.fsencode, command))[: end - begin - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            memory.write(text.ljust(end - begin, b"\0"))
