"""The screen on a real terminal: first paint, leaving, signals, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.conftest import now_script
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs.rundir import RunDir

PROGRAM = """
import sys
from pathlib import Path
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.app import run_screen
sys.exit(run_screen(RunDir(Path(sys.argv[1])), Settings()))
"""


class Terminal:
    """A terminal of its own session, with the screen in it."""

    def __init__(
        self, run: RunDir, env: dict[str, str], columns: int = 120, rows: int = 40, program: str = PROGRAM
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "SSH_CONNECTION", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(run.path)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**base, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(slave)
        self.seen = b""

    def read_until(self, words: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while words.encode() not in self.seen:
            assert time.monotonic() < deadline, f"{words!r} never came: {self.seen[-2000:]!r}"
            self._read(0.1)

    def exit_code(self, seconds: float = 60.0) -> int:
        """Drains the terminal until the program ends."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the screen did not leave"
            self._read(0.05)
        self._read(0.1)
        return self.process.returncode

    def _read(self, wait: float) -> None:
        if select.select([self.master], [], [], wait)[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                time.sleep(wait)  # the other side is closed: EIO at once

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)


Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(run: RunDir, **env: str) -> Terminal:
        opened.append(Terminal(run, env))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def live_run(tmp_path: Path) -> RunDir:
    """A run that is going on, whose supervisor has not been heard of yet."""
    script = now_script(8)
    return recording.write(tmp_path / "train-1", recording.everything(script, 8), recording.output_text())


def left_cleanly(seen: bytes) -> bool:
    """The alternate screen was left, the cursor is back, and mouse reports are off."""
    end = seen[seen.rindex(b"\x1b[?1049h") :]
    return b"\x1b[?1049l" in end and b"\x1b[?25h" in end and b"\x1b[?1000l" in end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_restore_the_terminal(live_run: RunDir, terminal: Open, number: signal.Signals) -> None:
    screen = terminal(live_run)
    screen.read_until("Input-bound")
    screen.process.send_signal(number)
    assert screen.exit_code() == 0
    assert left_cleanly(screen.seen)


def test_a_terminal_that_hangs_up_ends_the_screen(live_run: RunDir, terminal: Open) -> None:
    screen = terminal(live_run)
    screen.read_until("Input-bound")
    os.close(screen.master)
    screen.master = -1
    assert screen.process.wait(timeout=60) is not None


FLEET = "import sys; from tfgpu_tui.cli.command_line import main; sys.exit(main(['fleet']))"


def test_a_terminal_that_hangs_up_ends_the_fleets_screen(tmp_path: Path, live_run: RunDir) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    screen = Terminal(live_run, {"TFGPU_TUI_STATE_DIR": str(tmp_path / "state")}, program=FLEET)
    try:
        screen.read_until("nothing runs", 60)
        os.close(screen.master)
        screen.master = -1
        screen.process.wait(60)
    finally:
        screen.close()


def test_q_quits_an_ended_run_with_its_status(tmp_path: Path, terminal: Open) -> None:
    events = [*recording.everything(seconds=8), ev.RunEnded(t=recording.START + 12, src="child", signal=9, wall_s=12)]
    run = recording.write(tmp_path / "train-1", events)
    screen = terminal(run)
    screen.read_until("SIGKILL")
    os.write(screen.master, b"q")
    assert screen.exit_code() == 137
    assert left_cleanly(screen.seen)


def test_no_color_sends_no_colours(live_run: RunDir, terminal: Open) -> None:
    screen = terminal(live_run, NO_COLOR="1")
    screen.read_until("Input-bound")
    os.write(screen.master, b"d")
    assert screen.exit_code() == 0
    colours = re.findall(rb"\x1b\[[0-9;]*m", screen.seen)
    codes = {int(c) for sgr in colours for c in sgr[2:-1].split(b";") if c}
    assert not codes & {*range(30, 38), 38, *range(40, 48), 48, *range(90, 108)}, codes


def test_over_ssh_only_the_terminal_s_own_colours_are_used(live_run: RunDir, terminal: Open) -> None:
    screen = terminal(live_run, SSH_CONNECTION="10.0.0.1 1 10.0.0.2 22", COLORTERM="truecolor")
    screen.read_until("Input-bound")
    os.write(screen.master, b"d")
    assert screen.exit_code() == 0
    assert b"38;2;" not in screen.seen and b"48;2;" not in screen.seen
