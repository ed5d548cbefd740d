"""The supervisor's view of a script that the keeper owns; where the keeper itself is killed, its place is taken."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

from tfgpu_tui.keeper import status as packets
from tfgpu_tui.keeper.status import Status
from tfgpu_tui.runs import rundir


class KeptScript:
    """The script as the keeper tells of it, over the channel that the supervisor inherited."""

    def __init__(self, channel: socket.socket, terminal: int | None) -> None:
        """Waits for the keeper's first word, which was sent before this process was started. Raises OSError where there
        is no keeper."""
        self._channel = channel
        self.terminal = terminal
        packet = channel.recv(packets.PACKET_BYTES)
        if not packet:
            raise ConnectionError("the keeper is gone")
        self.told: Status = packets.decode(packet)
        self._channel.setblocking(False)
        self._started = rundir.process_start(self.told.pid) if self.told.pid else None
        self.alone = False
        """True once the keeper is gone: output and end are then this process's to look after."""

    @property
    def pid(self) -> int:
        return self.told.pid or 0

    @property
    def core_dumped(self) -> bool | None:
        """Of a script that a signal ended."""
        return self.told.core_dumped

    def fileno(self) -> int:
        """The channel, for the event loop."""
        return self._channel.fileno()

    def read(self, on_alone: Callable[[], None]) -> None:
        """Takes what the keeper sent; `on_alone` is called, once, when it is gone."""
        while not self.alone:
            try:
                packet = self._channel.recv(packets.PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self.alone = True
                on_alone()
                return
            with contextlib.suppress(ValueError, TypeError):
                self.told = packets.decode(packet)

    def status(self) -> tuple[int | None, int | None] | None:
        """(exit code, None) or (None, signal) once it ended; (None, None) where how it ended can't be known any more;
        None while it runs. Never blocks."""
        code = self.told.code
        if code is not None:
            return (None, -code) if code < 0 else (code, None)
        if self.alone and (self._started is None or rundir.process_start(self.pid) != self._started):
            return None, None
        return None

    def send_signal(self, number: int) -> None:
        """Signals the script's whole group, as a key in its terminal would. One that has ended is no error: the keeper
        leaves it a zombie, so that its number is nobody else's."""
        if self.status() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def let_go(self) -> None:
        """The run is over."""
        self._channel.close()


def hold_signals() -> None:
    """SIGINT and SIGHUP are not for the supervisor: functions, not SIG_IGN, which the NVML child would inherit."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, frame: None)
