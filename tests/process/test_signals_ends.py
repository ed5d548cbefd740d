"""How runs end: by whom, with which status, and what becomes of the processes that the script started."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from tests.process.conftest import (
    Workplace,
    of_type,
    supervisor_of,
    wait_for_output,
    wait_for_state,
    wait_until,
)
from tfgpu_tui.core.events import ChildStarted, RunEnded, Stopping
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

FAMILY = """
import multiprocessing, os, signal, subprocess, sys, time

def work(kind):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(1, f"{kind} {os.getpid()}\\n".encode())  # at once: others write lines, too
    time.sleep(300)

def main():
    for kind in ("fork", "spawn"):
        multiprocessing.get_context(kind).Process(target=work, args=(kind,)).start()
    # Leaves the script's session, and its parent ends at once: nobody's child any more.
    away = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); "
    away += "os.write(1, b'away %d' % os.getpid() + bytes([10])); time.sleep(300)"
    subprocess.run([sys.executable, "-c",
                    f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {away!r}])"])
    os.system("sleep 300 & echo shell $!")
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        os._exit(7)

if __name__ == "__main__":
    main()
"""


def family(run: RunDir) -> dict[str, int]:
    """The processes that the script started, by name."""

    def told() -> dict[str, int]:
        lines = (line.split() for line in run.output_log.read_text().splitlines()) if run.output_log.exists() else ()
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}

    wait_until(lambda: len(told()) == 4, "all children were started", 60)  # five interpreters, one after the other
    return told()


def alive(processes: dict[str, int]) -> list[str]:
    return [name for name, pid in processes.items() if rundir.process_start(pid) is not None]


def test_no_orphan_survives_a_stop(place: Workplace) -> None:
    run = place.start(place.script(FAMILY))
    children = family(run)
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    assert len(alive(children)) == 4
    launch.stop(run, "interrupt")
    assert wait_for_state(run, "ended").exit_code == 7
    assert alive(children) == []
    stages = [event for event in of_type(run, Stopping) if isinstance(event, Stopping)]
    assert [event.stage for event in stages] == ["interrupt", "children", "kill children"]
    assert "outlived the script" in stages[1].reason and stages[1].grace_s


def test_no_orphan_survives_a_stop_of_a_headless_run(place: Workplace) -> None:
    process = subprocess.Popen(
        place.command("--headless", place.script(FAMILY)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=place.env, cwd=place.folder,
    )  # fmt: skip
    assert process.stdout is not None
    children: dict[str, int] = {}
    while len(children) < 4:
        words = process.stdout.readline().split()
        children[words[0].decode()] = int(words[1])
    run = place.only_run()
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    launch.stop(run, "interrupt")
    assert process.wait(60) == 7
    process.stdout.close()
    assert alive(children) == []


def test_a_detach_ends_nothing(place: Workplace) -> None:
    """The launcher and its terminal go away; every child of the script lives on."""
    code = (
        "import fcntl, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nfrom tfgpu_tui.supervisor import launch\n"
        f"launch.start(launch.LaunchSpec(argv=[{str(place.script(FAMILY))!r}], cwd='.', python=sys.executable))\n"
        "import time\ntime.sleep(60)\n"
    )
    master, slave = os.openpty()
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdin=slave, env=place.env, cwd=place.folder, start_new_session=True
    )
    os.close(slave)
    wait_until(lambda: place.runs(), "the run exists")
    run = place.only_run()
    children = family(run)
    os.killpg(launcher.pid, signal.SIGHUP)
    os.close(master)
    launcher.wait(60)
    supervisor_of(run)
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    assert len(alive(children)) == 4
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    assert alive(children) == []


def test_a_stop_goes_on_under_the_next_supervisor(place: Workplace) -> None:
    script = place.script(
        "import signal, time\n"
        "signal.signal(signal.SIGINT, lambda *a: print('INT', flush=True))\n"
        "print('ready', flush=True)\nwhile True: time.sleep(1)\n"
    )
    run = place.start(script)
    wait_for_output(run, "ready")
    first = supervisor_of(run)
    launch.stop(run, "interrupt")
    wait_for_output(run, "INT")
    os.kill(first, signal.SIGKILL)
    supervisor_of(run, not_this=first)

    def interrupts() -> int:
        return len([e for e in of_type(run, Stopping) if isinstance(e, Stopping) and e.stage == "interrupt"])

    wait_until(lambda: interrupts() == 2, "the stop was taken up again")
    launch.stop(run, "kill")
    assert wait_for_state(run, "ended").signal == signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_signal_passes_through(place: Workplace, number: signal.Signals) -> None:
    run = place.start(place.script(f"import os; os.kill(os.getpid(), {int(number)})"))
    assert wait_for_state(run, "ended").signal == number


@pytest.mark.parametrize("headless", [False, True])
def test_a_core_dump_is_said(place: Workplace, headless: bool) -> None:
    """As the kernel tells it to the script's parent; plain python shows what this system does."""
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    text = "import os, resource as r, signal\nr.setrlimit(r.RLIMIT_CORE, ({0}, {1}))\nos.kill(os.getpid(), {2})\n"
    segfault, terminated = (
        place.script(text.format(limit, limit, number.value), f"{number.name}.py")
        for number in (signal.SIGSEGV, signal.SIGTERM)
    )
    expected = {terminated: False}
    plain = subprocess.Popen([sys.executable, str(segfault)], cwd=place.folder)
    expected[segfault] = os.WCOREDUMP(os.waitpid(plain.pid, 0)[1])
    plain.returncode = -signal.SIGSEGV
    for script, dumped in expected.items():
        before = {run.id for run in place.runs()}
        if headless:
            place.tool("--headless", script)
            (run,) = (RunDir(run.path) for run in place.runs() if run.id not in before)
        else:
            run = place.start(script)
            wait_for_state(run, "ended")
        (ended,) = of_type(run, RunEnded)
        assert isinstance(ended, RunEnded) and ended.core_dumped is dumped
        wait_until(run.report_path.exists, "the report was written")
        report = json.loads(run.report_path.read_text())
        assert report["run"]["core_dumped"] is dumped
        (killed,) = [finding for finding in report["findings"] if finding["id"] == "run.killed"]
        assert any("core dump" in line for line in killed["lines"]) is dumped
    for core in place.folder.glob("core*"):
        core.unlink()


def test_an_exit_status_has_no_core(place: Workplace) -> None:
    run = place.start(place.script("raise SystemExit(3)"))
    wait_for_state(run, "ended")
    (ended,) = of_type(run, RunEnded)
    assert isinstance(ended, RunEnded) and (ended.exit_code, ended.core_dumped) == (3, None)


def test_limits_pass_through(place: Workplace) -> None:
    """Core dumps, open files, niceness: as the caller has them."""
    script = place.script(
        "import os, resource as r\n"
        "print(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_NOFILE), os.nice(0), oct(os.umask(0)))\n"
    )
    plain = subprocess.run([sys.executable, str(script)], capture_output=True, text=True).stdout
    run = place.start(script)
    wait_for_state(run, "ended")
    assert run.output_log.read_text().strip() == plain.strip()
    assert str(resource.getrlimit(resource.RLIMIT_CORE)) in plain


def test_typing_reaches_the_script(place: Workplace) -> None:
    script = place.script("print('name?', flush=True)\nprint('hello', input())\nbreakpoint()\nprint('over')\n")
    run = place.start(script)
    wait_for_output(run, "name?")
    launch.command(run, {"cmd": "input", "text": "Zoë\n"})
    wait_for_output(run, "hello Zoë")
    wait_for_output(run, "(Pdb)")
    launch.command(run, {"cmd": "input", "text": "continue\n"})
    assert wait_for_state(run, "ended").exit_code == 0


def test_typing_into_a_script_that_reads_nothing_is_refused_in_time(place: Workplace) -> None:
    script = place.script("import tty, time\ntty.setraw(0)\nprint('ready', flush=True)\ntime.sleep(60)\n")
    run = place.start(script)
    wait_for_output(run, "ready")
    wait_until(lambda: of_type(run, ChildStarted), "the supervisor is at work")
    with pytest.raises(launch.ControlError, match="reads nothing"):
        for _ in range(40):
            launch.command(run, {"cmd": "input", "text": "x" * 4000})
    with pytest.raises(launch.ControlError, match="needs a text"):
        launch.command(run, {"cmd": "input", "text": 7})
    launch.stop(run, "kill")
    wait_for_state(run, "ended")


CRASHING = """
import multiprocessing, os, signal, time
import keras

def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def fail(): raise ValueError("no such file")
def fine(): pass
def slow(): time.sleep(60)

if __name__ == "__main__":
    for kind, work in (("fork", crash), ("spawn", fail), ("fork", fine), ("fork", slow)):
        process = multiprocessing.get_context(kind).Process(target=work)
        process.start()
        if work is slow:
            process.terminate()  # the script's own wish: not a crash
        process.join()
"""


def test_crashed_children_of_a_script_that_ends_well_are_said(place: Workplace) -> None:
    (place.folder / "keras.py").write_text("")  # wakes the agent up
    done = place.tool("--headless", "--report-json", "r.json", place.script(CRASHING))
    assert done.returncode == 0
    found = json.loads((place.folder / "r.json").read_text())["findings"]
    (finding,) = [finding for finding in found if finding["id"] == "run.failed"]
    assert finding["evidence"]["how"] == {"by SIGSEGV": 1, "with exit code 1": 1}
    assert b"2 child processes crashed" in done.stderr
