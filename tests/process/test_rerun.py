"""A rerun is the supervisor's: it starts once, whatever becomes of the screen that asked, and of the supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import (
    Workplace,
    of_type,
    read_journal,
    supervisor_of,
    wait_for_output,
    wait_for_state,
    wait_until,
)
from tests.process.test_screen_entry import ALTERNATE_SCREEN, Terminal
from tfgpu_tui.core.events import ChildStarted, Rerun, RunEnded, RunStarted, Stopping
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import again, launch

KNOBS = {"memory_growth": "on"}
TRAINING = """
import os, signal, subprocess, sys, time
def leave(*_):
    print("leaving", flush=True)
    while os.path.exists("hold"):
        time.sleep(0.02)
    sys.exit(5)
signal.signal(signal.SIGINT, leave)
left = subprocess.Popen(["sleep", "60"], start_new_session=True)
width, names = os.get_terminal_size().columns, ("TFGPU_TUI_KNOBS", "TFGPU_TUI_SOCKET")
print("ready", width, *(os.environ[name] for name in names), flush=True)
time.sleep(60)
"""
WITHOUT_CHILDREN = TRAINING.replace("left = ", "pass  # ")
KILLED_AT_THE_START = """
import os, signal
from tfgpu_tui.supervisor import launch
begin = launch.begin
def killed(run, *more):
    try:
        os.unlink({flag!r})
    except FileNotFoundError:
        begin(run, *more)
        return
    if {after}:
        begin(run, *more)
    os.kill(os.getpid(), signal.SIGKILL)
launch.begin = killed
"""


@pytest.fixture
def text() -> str:
    """Of the script that is rerun."""
    return TRAINING


@pytest.fixture
def training(place: Workplace, text: str) -> Iterator[RunDir]:
    """A run that takes its time to end; whatever runs at the end of the test is killed."""
    (place.folder / "hold").touch()
    run = place.start(place.script(text))
    wait_for_output(run, "ready")
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    yield run
    (place.folder / "hold").unlink(missing_ok=True)
    for found in place.runs():
        with contextlib.suppress(launch.ControlError):
            launch.stop(RunDir(found.path), "kill")
    wait_until(lambda: all(found.state != "running" for found in place.runs()), "every run is over")


def states(run: RunDir) -> list[str]:
    return [event.state for event in of_type(run, Rerun) if isinstance(event, Rerun)]


def others(place: Workplace, run: RunDir) -> list[RunDir]:
    return [RunDir(found.path) for found in place.runs() if found.id != run.id]


def goes_on(place: Workplace, run: RunDir) -> RunDir:
    """The one rerun, alive after every process of the old run has ended."""
    assert wait_for_state(run, "ended").exit_code == 5
    meta = rundir.read_meta(run)
    old = [pid for pid in (meta.keeper_pid, meta.supervisor_pid, meta.script_pid) if pid is not None]
    wait_until(lambda: not any(map(rundir.process_start, old)), "the old run's processes ended")
    (new,) = others(place, run)
    wait_for_output(new, "ready")
    wait_until(lambda: of_type(new, ChildStarted), "it is looked after")
    assert listing.summary(new).state == "running" and rundir.script_lives(rundir.read_meta(new))
    (begun,) = of_type(new, RunStarted)
    assert isinstance(begun, RunStarted) and begun.parent == run.id and begun.knobs == KNOBS
    told = of_type(run, Rerun)[-1]
    assert isinstance(told, Rerun) and told.state == "begun" and told.id == new.id
    assert isinstance(read_journal(run)[-1], RunEnded)
    return new


@pytest.mark.parametrize("leaves", ["d", "SIGKILL"])
def test_the_screen_that_asked_goes_and_the_rerun_starts(place: Workplace, training: RunDir, leaves: str) -> None:
    terminal = Terminal(place.command("attach", training.id), place)
    try:
        wait_until(lambda: ALTERNATE_SCREEN in terminal.read() and b"script.py" in terminal.read(), "the screen opened")
        terminal.type(b"gr")
        wait_until(lambda: b"rerun asked for" in terminal.read(), "the screen says so")
        if leaves == "d":
            terminal.type(b"d")
            wait_until(lambda: b"Come back: tfgpu-tui attach\r\n" in terminal.read(), "it is told what follows")
        else:
            terminal.process.kill()
        wait_until(terminal.ended, "the screen is gone")
    finally:
        terminal.hang_up()
        terminal.process.kill()
        terminal.process.wait()
    assert states(training) == ["asked"] and not others(place, training)
    (place.folder / "hold").unlink()
    new = goes_on(place, training)
    again = place.tool("stop", training.id)
    assert again.returncode == 2 and b"is not running" in again.stderr
    assert listing.summary(new).state == "running"
    first, second = (run.output_log.read_text().split() for run in (training, new))
    assert second[1] == str(rundir.read_meta(new).columns) != first[1], "as wide as the last screen"
    assert second[2:4] == ['{"memory_growth":', '"on"}'] and second[4] == rundir.read_meta(new).socket


def test_two_screens_ask_and_one_rerun_starts(place: Workplace, training: RunDir) -> None:
    for _ in range(2):
        launch.rerun(training, KNOBS)
    with pytest.raises(launch.ControlError, match="a rerun is already on its way"):
        launch.rerun(training, {"memory_growth": "off"})
    with pytest.raises(launch.ControlError, match="there is no knob"):
        launch.rerun(training, {"memory": "off"})
    assert states(training) == ["asked"]
    assert [event.reason for event in of_type(training, Stopping) if isinstance(event, Stopping)] == ["rerun"]
    (place.folder / "hold").unlink()
    goes_on(place, training)


def test_the_next_supervisor_takes_the_rerun_up(place: Workplace, training: RunDir) -> None:
    launch.rerun(training, KNOBS)
    first = supervisor_of(training)
    os.kill(first, signal.SIGKILL)
    supervisor_of(training, not_this=first)
    (place.folder / "hold").unlink()
    goes_on(place, training)
    assert states(training) == ["asked", "begun"]


@pytest.mark.parametrize(("after", "text"), [(False, TRAINING), (True, TRAINING), (True, WITHOUT_CHILDREN)])
def test_a_supervisor_that_is_killed_as_it_starts_the_rerun_starts_no_second_one(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, after: bool, text: str
) -> None:
    """Before, or after the keeper was started; the new one is then an orphan that the old keeper adopts."""
    package, flag = place.folder / "changed" / "tfgpu_tui", place.folder / "flag"
    shutil.copytree(Path(launch.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    flag.touch()
    entry = package / "supervisor" / "__main__.py"
    start, end = "from tfgpu_tui.supervisor.main import main", KILLED_AT_THE_START.format(flag=str(flag), after=after)
    assert start in entry.read_text()
    entry.write_text(entry.read_text().replace(start, end + start))
    beside = package / "supervisor" / "launch.py"
    monkeypatch.setattr(launch, "__file__", str(beside))  # its keeper starts its supervisors
    training: RunDir = request.getfixturevalue("training")
    launch.rerun(training, KNOBS)
    (place.folder / "hold").unlink()
    new = goes_on(place, training)
    assert not flag.exists() and states(training) == ["asked", "begun"]
    assert new.output_log.read_text().count("ready") == 1 and len(of_type(new, ChildStarted)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stop_takes_the_rerun_back(place: Workplace, training: RunDir, number: signal.Signals) -> None:
    """By command, or by a signal that ends the monitor."""
    launch.rerun(training, KNOBS)
    if number == signal.SIGTERM:
        os.kill(supervisor_of(training), number)
    else:
        stopped = place.tool("stop", training.id, "--stage", "kill")
        assert b"a rerun of it was on its way, and was taken back" in stopped.stdout
    assert wait_for_state(training, "ended").signal == number
    assert states(training) == ["asked", "taken_back"] and not others(place, training)


def test_a_rerun_can_be_taken_back_and_asked_for_again(place: Workplace, training: RunDir) -> None:
    with pytest.raises(launch.ControlError, match="no rerun is on its way"):
        launch.command(training, {"cmd": "rerun", "cancel": True})
    launch.rerun(training, {})
    launch.command(training, {"cmd": "rerun", "cancel": True})
    launch.rerun(training, KNOBS)
    (place.folder / "hold").unlink()
    goes_on(place, training)
    assert states(training) == ["asked", "taken_back", "asked", "begun"]


@pytest.mark.parametrize("text", [TRAINING.replace("SIGINT, leave", "SIGINT, signal.SIG_IGN")])
def test_a_rerun_waits_for_the_whole_escalation(place: Workplace, training: RunDir, text: str) -> None:
    """A harder stage of the same rerun is no stop that takes it back."""
    launch.rerun(training, KNOBS)
    launch.command(training, {"cmd": "rerun", "knobs": KNOBS, "stage": "kill"})
    assert wait_for_state(training, "ended").signal == signal.SIGKILL
    assert states(training) == ["asked", "begun"]
    (new,) = others(place, training)
    wait_for_output(new, "ready")


def test_a_rerun_that_can_not_start_stops_nothing_and_one_that_fails_says_why(place: Workplace) -> None:
    work = place.folder / "gone"
    work.mkdir()
    (work / "hold").touch()
    script = place.script(TRAINING)
    run = launch.start(launch.LaunchSpec(argv=[str(script)], cwd=str(work), python=os.environ["TFGPU_TUI_PYTHON"]))
    wait_for_output(run, "ready")
    script.rename(script.with_name("elsewhere.py"))
    with pytest.raises(launch.ControlError, match=r"script\.py is gone"):
        launch.rerun(run, KNOBS)
    assert not of_type(run, Stopping) and not of_type(run, Rerun)
    script.with_name("elsewhere.py").rename(script)
    launch.rerun(run, KNOBS)
    shutil.rmtree(work)
    assert wait_for_state(run, "ended").exit_code == 5
    told = of_type(run, Rerun)[-1]
    assert isinstance(told, Rerun) and told.state == "failed" and f"the folder {work} is gone" in (told.error or "")
    assert not others(place, run)


def test_a_headless_run_is_rerun_beside_its_caller(place: Workplace) -> None:
    script = place.script(TRAINING.replace("os.get_terminal_size().columns", "os.isatty(0)"))
    process = subprocess.Popen(
        place.command("--headless", script),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=place.env, cwd=place.folder,
    )  # fmt: skip
    wait_until(place.runs, "the run exists")
    run = place.only_run()
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    launch.rerun(run, KNOBS)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5 and b"ready False" in out
    (new,) = others(place, run)
    assert err.decode().count(f"a rerun was asked for, and goes on by itself: tfgpu-tui attach {new.id}") == 1
    assert goes_on(place, run) == new and "ready True" in new.output_log.read_text()
    launch.stop(new, "kill")
    wait_for_state(new, "ended")


def test_two_screens_rerun_a_run_that_is_over_once(place: Workplace) -> None:
    over = place.start(place.script("print('x')"))
    wait_for_state(over, "ended")
    found: list[again.Again] = []
    screens = [threading.Thread(target=lambda: found.append(again.start(over, KNOBS))) for _ in range(4)]
    for screen in screens:
        screen.start()
    for screen in screens:
        screen.join()
    assert [one.new for one in found].count(True) == 1 and len({one.run for one in found}) == 1
    (new,) = others(place, over)
    wait_for_state(new, "ended")
    wait_until(lambda: again.start(over, {}).new, "later it is a new rerun")
    wait_until(lambda: all(run.state == "ended" for run in place.runs()), "all are over")
    with pytest.raises(launch.ControlError, match="was changed while you were asked"):
        again.start(over, {}, confirmed="cd / && python3 another.py")
    (place.folder / "script.py").unlink()
    with pytest.raises(launch.ControlError, match=r"script\.py is gone"):
        again.start(others(place, new)[0], {})


def test_a_descriptor_of_the_shell_reaches_the_script_and_nobody_else(place: Workplace) -> None:
    """`<(…)`: as without us its writer notices when the script closes it, while the script and the screen go on."""
    script = place.script(
        "import os, sys, time\n"
        "with open(sys.argv[1]) as file: print('read', file.readline().strip(), flush=True)\n"
        "os.close(int(sys.argv[1].rpartition('/')[2]))\n"
        "while not os.path.exists('noticed'): time.sleep(0.02)\n"
    )
    shell = f"{subprocess.list2cmdline(place.command(script))} <(yes a line; touch noticed)"
    terminal = Terminal([shutil.which("bash") or "/bin/bash", "-c", shell], place)
    try:
        wait_until(place.runs, "the run exists")
        run = place.only_run()
        wait_for_output(run, "read a line")
        wait_until(Path(place.folder, "noticed").exists, "the writer got its SIGPIPE")
        assert wait_for_state(run, "ended").exit_code == 0 and not terminal.ended()
        wait_until(lambda: b"finished" in terminal.read(), "the screen shows the end")
        terminal.type(b"r")
        wait_until(lambda: b"a rerun can't have /dev/fd/" in terminal.read(), "it is said that this can't be had again")
        terminal.type(b"q")
        wait_until(terminal.ended, "the screen left")
    finally:
        terminal.hang_up()
        terminal.process.kill()
        terminal.process.wait()
    assert not others(place, run)


def test_what_is_typed_unseen_is_written_nowhere(place: Workplace) -> None:
    script = place.script(
        "import getpass, readline\n"
        "print('name?', input(), flush=True)\n"
        "print('got', len(getpass.getpass('secret: ')), flush=True)\n"
        "input('more> ')\n"
    )
    run = place.start(script)
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    launch.command(run, {"cmd": "input", "text": "Zoe\r"})
    wait_for_output(run, "secret:")
    assert launch.types_unseen(run)
    launch.command(run, {"cmd": "input", "text": "geheim42\r"})
    wait_for_output(run, "more>")
    assert "got 8" in run.output_log.read_text()
    assert not launch.types_unseen(run), "readline's own echo"
    launch.command(run, {"cmd": "input", "text": "seen\r"})
    wait_for_state(run, "ended")
    wait_until(run.report_path.exists, "the report was written")
    assert all(b"geheim42" not in path.read_bytes() for path in run.path.iterdir())
    assert "seen" in run.output_log.read_text()
