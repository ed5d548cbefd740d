"""Signals that come to a process of ours between its fork and its handlers: it lives on, and the script knows nothing.

Ctrl+C reaches the whole group of a terminal, and whoever signals every process of a job means no one in particular.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.nvml.build import compiler
from tests.process.conftest import Workplace, of_type, wait_for_state, wait_until
from tests.process.test_inherited import START
from tests.process.test_screen_entry import Terminal, terminals, wait_for_run
from tfgpu_tui.core.events import Fault, Stopping
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir

__all__ = ["terminals"]
KEEPER, SUPERVISOR = "keeper/__main__.py", "supervisor/__main__.py"
LOOK = """
import signal, sys
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
print("blocked", *sorted(map(int, blocked)), "ignored", *sorted(map(int, ignored)), flush=True)
sys.exit(3)
"""
EVERY = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT})


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler for signals that come early")
    built = tmp_path / "early.so"
    source = Path(__file__).with_name("early_signals_shim.c")
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl"], check=True)
    return built


def hit(place: Workplace, shim: Path, program: str, numbers: Sequence[int]) -> None:
    """From here on `numbers` come to each such process that the tool starts, before its program begins."""
    place.env["LD_PRELOAD"] = str(shim)
    place.env["EARLY_PROGRAM"] = program
    place.env["EARLY_SIGNALS"] = " ".join(str(int(number)) for number in numbers)


def started(place: Workplace, script: Path) -> RunDir:
    """A detached run whose launcher is a process of its own."""
    command = [sys.executable, str(place.script(START, "start.py")), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place.folder, env=place.env, timeout=180)
    assert done.returncode == 0, done.stderr
    return RunDir(Path(done.stdout.strip()))


def test_a_keeper_that_every_signal_reaches_before_its_program_keeps_its_run(place: Workplace, shim: Path) -> None:
    script = place.script(LOOK)
    plain = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=place.folder, env=place.env)
    hit(place, shim, KEEPER, EVERY)
    run = started(place, script)
    assert wait_for_state(run, "ended").exit_code == 3
    assert run.output_log.read_text().split() == plain.stdout.split()
    assert of_type(run, Fault) == []


def test_a_supervisor_that_is_hit_before_its_program_takes_what_is_for_it(place: Workplace, shim: Path) -> None:
    """SIGTERM, which stops the script, and neither SIGINT nor SIGHUP."""
    hit(place, shim, SUPERVISOR, [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
    run = started(place, place.script("import time\ntime.sleep(60)\n"))
    assert wait_for_state(run, "ended").signal == signal.SIGTERM
    stages = [event.stage for event in of_type(run, Stopping) if isinstance(event, Stopping)]
    assert stages == ["terminate"]
    assert of_type(run, Fault) == []


def test_ctrl_c_at_the_fork_of_the_keeper_stops_the_run(
    place: Workplace, terminals: list[Terminal], shim: Path
) -> None:
    """The keeper that has no session of its own yet gets it, too."""
    hit(place, shim, KEEPER, [signal.SIGINT])
    terminal = Terminal(place.command(place.script("import time\ntime.sleep(60)\n")), place)
    terminals.append(terminal)
    run = wait_for_run(place)
    terminal.type(b"\x03")
    wait_until(terminal.ended, "Ctrl+C ended it")
    assert terminal.process.returncode == 130
    assert listing.summary(run).state == "ended", terminal.read()
    assert not Path(rundir.read_meta(run).socket).exists()
