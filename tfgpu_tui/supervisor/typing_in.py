"""What a viewer types for the script, into its terminal: never waits for a script that does not read."""

from __future__ import annotations

import asyncio
import os
import termios

WAITING_BYTES = 1 << 16


class Typing:
    """The write side of the script's terminal."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._waiting = b""

    @property
    def unseen(self) -> bool:
        """Whether the terminal does not show what is typed, as at `getpass`: no echo, but whole lines. Without both the
        program shows it itself, as readline does (termios(3); the master side tells of the script's)."""
        try:
            local_modes = termios.tcgetattr(self._terminal)[3]
        except (OSError, termios.error):
            return False  # the terminal is gone: the script ended
        return not local_modes & termios.ECHO and bool(local_modes & termios.ICANON)

    def type(self, text: str) -> None:
        """Raises ValueError where the script did not read what was typed before."""
        data = text.encode("utf-8", errors="replace")
        if len(self._waiting) + len(data) > WAITING_BYTES:
            raise ValueError(f"the script reads nothing: {len(self._waiting)} bytes that were typed still wait for it")
        idle = not self._waiting
        self._waiting += data
        if idle and data:
            asyncio.get_running_loop().add_writer(self._terminal, self._write)

    def _write(self) -> None:
        try:
            self._waiting = self._waiting[os.write(self._terminal, self._waiting) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._waiting = b""  # the terminal is gone: the script ended
        if not self._waiting:
            asyncio.get_running_loop().remove_writer(self._terminal)

    def close(self) -> None:
        """Gives up what still waits."""
        if self._waiting:
            asyncio.get_running_loop().remove_writer(self._terminal)
            self._waiting = b""
