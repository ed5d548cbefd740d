"""Owns the script and its terminal: drains its output, starts (again) the supervisor, and waits for both.

All that must not end before the script lives in here, and nothing else does: no samples, no journal, no network, only
the modules that starting a process needs. So a supervisor that is killed costs neither the terminal (its hang-up would
end the script), nor output, nor the exit status; the next one reads the journal and goes on with it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from tfgpu_tui.keeper import status as packets
from tfgpu_tui.keeper.output import OutputLog
from tfgpu_tui.keeper.spawn import Order, Spawned
from tfgpu_tui.keeper.status import Status
from tfgpu_tui.runs import files, rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.runs.search_path import own_python
from tfgpu_tui.supervisor import child as script
from tfgpu_tui.supervisor import children, listening

SUPERVISOR = Path(__file__).parents[1] / "supervisor" / "__main__.py"
RESTART_S = (0.5, 2.0, 5.0, 30.0, 300.0)
"""Waits before a new supervisor, by the number that ended too soon one after the other."""
STEADY_S = 60.0
"""A supervisor that lived so long did not end too soon."""
LAST_OUTPUT_S = 1.0
"""After the script's end: for what its terminal still holds. A child of it may keep that open for ever."""
LOOK_S = 1.0
"""Period of looking after the files."""
ENDINGS = 3
"""So many supervisors may fail at concluding a run whose script ended; then the keeper goes, too."""


class Keeper:
    """One script, one terminal, one supervisor at a time."""

    def __init__(self, run: RunDir, meta: Meta, listener: socket.socket | None, child: Spawned | str) -> None:
        """`child` is the script, or why it could not be started."""
        self._run = run
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._status = Status(keeper=os.getpid(), clock_base=time.time() - boot_s)
        self._told = True
        self._channel: socket.socket | None = None
        self._listener = listener
        if listener is None:
            self._listen(meta)
        self._child: Spawned | None = None
        if isinstance(child, str):
            self._tell(spawn_error=child)
        else:
            self._child = child
            begun = time.time() - (time.monotonic() - child.started)
            self._tell(pid=child.pid, begun=begun)
        pid = self._status.pid
        self._meta = meta._replace(
            keeper_pid=os.getpid(),
            keeper_started=rundir.process_start(os.getpid()),
            script_pid=pid,
            script_started=rundir.process_start(pid) if pid else None,
        )
        self._write_meta()
        self._output: OutputLog | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._failures = 0
        self._ended_at: float | None = None

    def _listen(self, meta: Meta) -> None:
        """Where the launcher could not: the script runs already, and its agent looks for the socket again and again."""
        try:
            self._listener = listening.listen(Path(meta.socket))
        except OSError as error:
            self._tell(socket_error=f"no socket at {meta.socket}: {error.strerror}")

    def _write_meta(self) -> None:
        try:
            files.make_private(self._run.path)
            rundir.write_meta(self._run, self._meta)
        except OSError:
            pass  # the supervisor writes it, too, and says when it can't

    def keep(self) -> int:
        """Returns when the script ended and its run is concluded."""
        poll = select.poll()
        wake = _wake_on_signals()
        poll.register(wake, select.POLLIN)
        children.adopt_orphans()
        self._start_supervisor()
        terminal = self._child.terminal if self._child else None
        if terminal is not None:
            self._output = OutputLog(terminal, self._run.output_log)
            poll.register(terminal, select.POLLIN)
        look_at = time.monotonic()
        while not self._done():
            woken = False
            for fd, _ in poll.poll(self._patience_ms(look_at)):
                if fd == wake:
                    os.read(wake, 4096)
                    woken = True
                elif not self._drain():
                    poll.unregister(fd)
            now = time.monotonic()
            if now >= look_at:
                look_at, woken = now + LOOK_S, True
                if self._look() and terminal is not None:
                    poll.register(terminal, select.POLLIN)
            if woken:
                self._reap()
            self._tell_output(now)
            if self._supervisor is None and now >= self._next_start and not self._done():
                self._start_supervisor()
        return 0

    def _done(self) -> bool:
        if self._supervisor is not None or not self._over():
            return False
        return self._status.lost_supervisor is None or self._failures >= ENDINGS

    def _over(self) -> bool:
        return self._child is None or self._status.drained

    def _patience_ms(self, look_at: float) -> float:
        now = time.monotonic()
        until = look_at if self._supervisor is not None else min(look_at, self._next_start)
        if self._ended_at is not None and not self._status.drained:
            until = min(until, self._ended_at + LAST_OUTPUT_S)
        return max(0.0, until - now) * 1000 + 1

    def _look(self) -> bool:
        """Once a second: the files, and what could not be told. True where a terminal that every process had closed is
        in use again."""
        if not self._told:
            self._tell()
        if not self._run.meta_path.exists():
            self._write_meta()  # somebody deleted the run's folder
        if self._output is None or self._status.drained:
            return False
        self._output.look_after_file()
        return self._output.at_end and self._drain()

    # The terminal

    def _drain(self) -> bool:
        """Some reads at once, where there is much; False at the end of the terminal."""
        if self._output is None or self._status.drained:
            return False
        for _ in range(16):
            if not self._output.drain():
                return False
            if not self._output.took:
                break
        return True

    def _output_is_over(self) -> None:
        assert self._output is not None
        self._output.close()
        self._tell(drained=True, capped=self._output.capped, output_error=self._output.error)

    def _tell_output(self, now: float) -> None:
        if self._output is None or self._status.drained:
            return
        if self._output.capped != self._status.capped or self._output.error != self._status.output_error:
            self._tell(capped=self._output.capped, output_error=self._output.error)
        if self._ended_at is not None and (self._output.at_end or now >= self._ended_at + LAST_OUTPUT_S):
            self._output_is_over()

    # Processes

    def _reap(self) -> None:
        """Looks at every child that ended. The script stays a zombie: its number must not become another's while the
        supervisor may still signal its group."""
        if self._child is not None and self._ended_at is None:
            ended = script.how_it_ended(self._child.pid)
            if ended is not None:
                self._ended_at = self._next_start = time.monotonic()
                self._failures = 0  # what is left to do is the conclusion, and it has its own tries
                self._tell(code=ended[0], core_dumped=ended[1])
        if self._supervisor is not None and self._supervisor.poll() is not None:
            self._supervisor_ended(self._supervisor.returncode)
        children.reap_adopted({self._child.pid if self._child else 0, self._supervisor.pid if self._supervisor else 0})

    def _start_supervisor(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        terminal = self._child.terminal if self._child else None
        passed = [theirs.fileno(), *([self._listener.fileno()] if self._listener else [])]
        passed += [terminal] if terminal is not None else []
        numbers = [str(theirs.fileno()), str(self._listener.fileno() if self._listener else -1)]
        numbers.append(str(-1 if terminal is None else terminal))
        self._channel = ours
        self._tell()
        if not self._run.meta_path.exists():
            self._write_meta()
        self._started = time.monotonic()
        try:
            self._supervisor = subprocess.Popen(
                [*own_python(), str(SUPERVISOR), str(self._run.path), *numbers],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                start_new_session=True,
            )
        except OSError as error:
            self._lose_supervisor(f"can't be started: {error}")
        finally:
            theirs.close()

    def _supervisor_ended(self, code: int) -> None:
        self._supervisor = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if code == 0 and self._over():
            self._status = replace(self._status, lost_supervisor=None)
            return
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        self._lose_supervisor(f"ended by {how}" if code < 0 else f"ended with {how}")

    def _lose_supervisor(self, how: str) -> None:
        now = time.monotonic()
        self._failures = 0 if now - self._started >= STEADY_S else self._failures
        wait_s = RESTART_S[min(self._failures, len(RESTART_S) - 1)]
        self._failures += 1
        # A run whose script ended waits for nothing but its conclusion.
        self._next_start = now + (min(wait_s, RESTART_S[0]) if self._over() else wait_s)
        self._tell(lost_supervisor=how, lost_at=time.time())

    def _tell(self, **changed: object) -> None:
        self._status = replace(self._status, **changed)  # type: ignore[arg-type]
        self._told = self._channel is None
        if self._channel is not None:
            try:
                self._channel.send(packets.encode(self._status), socket.MSG_NOSIGNAL)
                self._told = True
            except OSError:
                pass  # full: it is not reading, and will be told later; or gone: `_reap` sees that


def _wake_on_signals() -> int:
    """A pipe that becomes readable with each SIGCHLD, which is the only signal for us: `spawn` has blocked them all."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return read_end


def main(order: Order, child: Spawned | str) -> int:
    """Keeps what `spawn` has started."""
    run = RunDir(Path(order.run_folder))
    listener = socket.socket(fileno=order.listener) if order.listener >= 0 else None
    return Keeper(run, rundir.read_meta(run), listener, child).keep()
