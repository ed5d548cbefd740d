"""From the command line to the screen and back, in a real terminal: the run is there first, and outlives the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.process.conftest import Workplace, wait_for_output, wait_for_state, wait_until
from tfgpu_tui.cli import mishap
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.supervisor import launch

IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
ALTERNATE_SCREEN = b"\x1b[?1049h"
SCRIPT = "import os, time\nprint('size', *os.get_terminal_size(), flush=True)\ntime.sleep(%d)\nprint('done')\n"


class Terminal:
    """A command in a terminal of its own, as a user's."""

    def __init__(self, command: list[str], place: Workplace, columns: int = 110, rows: int = 35) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=place.folder,
            env={**place.env, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""
        self.open = True

    def read(self) -> bytes:
        """Everything on the screen so far, escape sequences included."""
        while self.open and select.select([self.master], [], [], 0)[0]:
            try:
                self.seen += os.read(self.master, 1 << 16)
            except OSError:
                break
        return self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def hang_up(self) -> None:
        if self.open:
            os.close(self.master)
            self.open = False

    def ended(self) -> bool:
        self.read()
        return self.process.poll() is not None


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.hang_up()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait()


def test_the_screen_opens_hangs_up_and_is_attached_again(place: Workplace, terminals: list[Terminal]) -> None:
    script = place.script(SCRIPT % 60)
    first = Terminal(place.command(script), place)
    terminals.append(first)
    wait_until(lambda: ALTERNATE_SCREEN in first.read(), "the screen opened")
    run = place.only_run()
    wait_for_output(run, "size")
    first.hang_up()
    wait_until(first.ended, "the screen went with its terminal")
    assert listing.summary(run).state == "running"

    again = Terminal(place.command("attach"), place)
    terminals.append(again)
    wait_until(lambda: ALTERNATE_SCREEN in again.read() and b"script.py" in again.read(), "the run was attached")
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    wait_until(lambda: b"SIGKILL" in again.read(), "the screen says how the run ended")
    again.type(b"q")
    wait_until(again.ended, "q left the screen of an ended run")
    assert again.process.returncode == 128 + signal.SIGKILL, "the script's own status"
    assert f"tfgpu-tui report {run.id}".encode() in again.read()


def test_detach_says_how_to_come_back(place: Workplace, terminals: list[Terminal]) -> None:
    terminal = Terminal(place.command(place.script(SCRIPT % 60)), place)
    terminals.append(terminal)
    wait_until(lambda: ALTERNATE_SCREEN in terminal.read(), "the screen opened")
    run = place.only_run()
    wait_for_output(run, "size")
    terminal.type(b"d")
    wait_until(terminal.ended, "d left the screen")
    assert f"Come back: tfgpu-tui attach {run.id}".encode() in terminal.read()
    assert listing.summary(run).state == "running"
    launch.stop(run, "kill")
    wait_for_state(run, "ended")


def test_a_dumb_terminal_gets_lines(place: Workplace, terminals: list[Terminal]) -> None:
    place.env["TERM"] = "dumb"
    command = ["/usr/bin/env", "TERM=dumb", *place.command(place.script("print('hello')"))]
    terminal = Terminal(command, place)
    terminals.append(terminal)
    wait_until(terminal.ended, "the run ended")
    seen = terminal.read()
    assert b"hello" in seen and b"tfgpu-tui report" in seen and ALTERNATE_SCREEN not in seen


def test_lines_are_typed_to_the_script_from_the_screen(place: Workplace, terminals: list[Terminal]) -> None:
    script = place.script("print('name?', flush=True)\nprint('hello', input(), flush=True)\nprint('again', input())\n")
    terminal = Terminal(place.command(script), place)
    terminals.append(terminal)
    wait_until(lambda: ALTERNATE_SCREEN in terminal.read(), "the screen opened")
    run = place.only_run()
    wait_for_output(run, "name?")
    wait_until(lambda: b"name?" in terminal.read(), "the question is on the screen")
    terminal.type(b"i")
    wait_until(lambda: b"to the script:" in terminal.read(), "i opened the line")
    terminal.type("Zoë\r".encode())
    wait_for_output(run, "hello Zoë")
    terminal.type(b"over\r")
    assert wait_for_state(run, "ended").exit_code == 0
    assert "again over" in run.output_log.read_text()


def test_the_browser_deletes_ended_runs_and_never_a_running_one(place: Workplace, terminals: list[Terminal]) -> None:
    running = place.start(place.script(SCRIPT % 60, "running.py"))
    wait_for_output(running, "size")
    ended = place.start(place.script("print('x')", "ended.py"))
    wait_for_state(ended, "ended")
    shown = place.start(place.script("print('y')", "shown.py"))
    wait_for_state(shown, "ended")
    terminal = Terminal(place.command("attach", shown.id), place)
    terminals.append(terminal)
    wait_until(lambda: b"shown.py" in terminal.read(), "the run is on the screen")

    def asks(run: rundir.RunDir, downwards: int) -> None:
        """Chooses the run, newest first, and says yes when asked whether to delete it."""
        mark = len(terminal.read())
        terminal.type(b"\x1b[B" * downwards + b"x")
        wait_until(lambda: f"delete {run.id}?".encode() in terminal.read()[mark:], "it asks first")
        assert run.path.exists()
        terminal.type(b"x")

    terminal.type(b"b")
    wait_until(lambda: running.id.encode() in terminal.read(), "the browser opened")
    asks(ended, 1)
    wait_until(lambda: not ended.path.exists(), "the ended run's folder is gone")
    wait_until(lambda: f"deleted {ended.id}".encode() in terminal.read(), "and that is said")
    asks(running, 1)
    wait_until(
        lambda: f"{running.id} is kept: it is running; stop it first".encode() in terminal.read(),
        "a running one is kept",
    )
    assert listing.summary(running).state == "running" and running.journal.exists()
    assert shown.path.exists()
    launch.stop(running, "kill")
    wait_for_state(running, "ended")


def wait_for_run(place: Workplace) -> rundir.RunDir:
    """The run, as soon as it is made."""
    wait_until(lambda: list(place.state.glob("runs/*/meta.json")), "a run was made")
    return place.only_run()


def test_ctrl_c_before_the_screen_stops_what_was_just_started(place: Workplace, terminals: list[Terminal]) -> None:
    terminal = Terminal(place.command(place.script(SCRIPT % 60)), place)
    terminals.append(terminal)
    run = wait_for_run(place)
    terminal.type(b"\x03")
    wait_until(terminal.ended, "Ctrl+C ended it")
    seen = terminal.read()
    assert terminal.process.returncode == 130
    assert f"stopping {run.id}".encode() in seen and b"Traceback" not in seen
    # The last SIGINT comes to a Python that may have no handler yet, and ends it either way.
    assert listing.summary(run).state == "ended", seen
    assert f"tfgpu-tui report {run.id}".encode() in seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_screen_says_that_the_run_goes_on(
    place: Workplace, terminals: list[Terminal], number: signal.Signals
) -> None:
    terminal = Terminal(place.command(place.script(SCRIPT % 60)), place)
    terminals.append(terminal)
    run = wait_for_run(place)
    os.kill(terminal.process.pid, number)
    wait_until(terminal.ended, "the signal ended it")
    seen = terminal.read()
    assert terminal.process.returncode == 128 + number
    assert f"{run.id} goes on.".encode() in seen and f"tfgpu-tui stop {run.id}".encode() in seen
    wait_for_output(run, "size")
    launch.stop(run, "kill")
    wait_for_state(run, "ended")


CRASHES = {
    "while it is loaded": "sys.modules['textual'] = None",
    "while it is drawn": "from tfgpu_tui.ui.monitor import MonitorApp\n    MonitorApp.on_ticked = lambda self: 1 // 0",
}


@pytest.mark.parametrize("when", CRASHES)
def test_a_crash_of_the_screen_says_that_the_run_goes_on(
    place: Workplace, terminals: list[Terminal], when: str
) -> None:
    broken = place.script(f"import sys\nif 'attach' in sys.orig_argv:\n    {CRASHES[when]}\n", "sitecustomize.py")
    run = place.start(place.script(SCRIPT % 60))
    wait_for_output(run, "size")
    place.env["PYTHONPATH"] = f"{broken.parent}{os.pathsep}{place.env['PYTHONPATH']}"
    terminal = Terminal(place.command("attach", run.id), place)
    terminals.append(terminal)
    wait_until(terminal.ended, "the screen crashed")
    after = terminal.read().split(b"\x1b[?1049l")[-1].decode()
    assert terminal.process.returncode == mishap.STATUS
    assert f"{run.id} goes on." in after and f"tfgpu-tui attach {run.id}" in after
    assert "a mistake of the tool's own" in after and after.count("Error") == 1, "one line of it"
    assert "Traceback" in (place.state / "errors.log").read_text()
    assert listing.summary(run).state == "running"
    launch.stop(run, "kill")
    wait_for_state(run, "ended")


def test_an_interpreter_that_can_not_be_started_is_said(place: Workplace, terminals: list[Terminal]) -> None:
    nothing = place.script("no program\n", "nothing")
    nothing.chmod(0o700)
    done = place.tool("--headless", "--python", nothing, place.script("print(1)"))
    assert done.returncode == 127
    words = f"{nothing} can't be started: Exec format error"
    assert done.stderr.decode().startswith(f"tfgpu-tui: {words}\n") and b"The script was never started" in done.stderr
    terminal = Terminal(place.command("--python", nothing, place.script("print(1)")), place)
    terminals.append(terminal)
    wait_until(lambda: b"never started" in terminal.read(), "the screen says it")
    wait_until(lambda: b"Exec format error" in terminal.read(), "and why")
    terminal.type(b"q")
    wait_until(terminal.ended, "q left")
    assert terminal.process.returncode == 127


def test_a_terminal_without_a_size_is_taken_for_80x24(place: Workplace, terminals: list[Terminal]) -> None:
    terminal = Terminal(place.command(place.script(SCRIPT % 60)), place, columns=0, rows=0)
    terminals.append(terminal)
    wait_until(lambda: ALTERNATE_SCREEN in terminal.read(), "the screen opened")
    run = place.only_run()
    wait_for_output(run, "size")
    meta = rundir.read_meta(run)
    assert (meta.columns, meta.rows) == (80, 24)
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    wait_until(lambda: b"SIGKILL" in terminal.read(), "it is drawn")
