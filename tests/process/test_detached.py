"""Under a screen: the script has a terminal of its own, and lives on whatever happens to the screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
from tfgpu_tui.core.events import ChildStarted, Fault, HostSample, Log, RunEnded, RunStarted, Standing, Stopping
from tfgpu_tui.keeper.spawn import Order
from tfgpu_tui.runs import listing, pruning, rundir
from tfgpu_tui.supervisor import launch

SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, lambda *a: print("no to INT", flush=True))
signal.signal(signal.SIGTERM, lambda *a: print("no to TERM", flush=True))
print("ready", flush=True)
while True:
    time.sleep(1)
"""


def test_the_script_has_a_controlling_terminal_of_the_right_size(place: Workplace) -> None:
    script = place.script(
        "import os, signal, time\n"
        "def size(*_): print('size', *os.get_terminal_size(), flush=True)\n"
        "signal.signal(signal.SIGWINCH, size)\n"
        "os.close(os.open('/dev/tty', os.O_RDWR))\n"
        "print('terminal', os.isatty(0), os.isatty(1), os.isatty(2), os.tcgetpgrp(0) == os.getpid() == os.getsid(0))\n"
        "print('signals', *(signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGHUP, signal.SIGTERM)))\n"
        "size(); time.sleep(60)\n"
    )
    run = place.start(script, columns=101, rows=33)
    wait_for_output(run, "size 101 33")
    launch.resize(run, 120, 40)
    wait_for_output(run, "size 120 40")
    text = run.output_log.read_text()
    assert "terminal True True True True" in text
    assert "signals True True" in text
    launch.stop(run, "kill")
    assert wait_for_state(run, "ended").signal == signal.SIGKILL


def test_output_is_complete_and_in_order(place: Workplace) -> None:
    script = place.script("for i in range(200_000):\n    print('line', i)\n")
    run = place.start(script)
    assert wait_for_state(run, "ended").exit_code == 0
    data = run.output_log.read_bytes()
    assert data == b"".join(b"line %d\r\n" % i for i in range(200_000))
    last = of_type(run, Log)[-1]
    assert isinstance(last, Log) and last.size_bytes == len(data) and not last.capped
    assert isinstance(read_journal(run)[0], RunStarted) and isinstance(read_journal(run)[-1], RunEnded)


@pytest.mark.parametrize("blow", [signal.SIGHUP, signal.SIGKILL])
def test_the_run_survives_its_launcher(place: Workplace, blow: signal.Signals) -> None:
    """The launcher leads a session with a terminal, is hit, and its terminal goes away: as when SSH breaks off."""
    script = place.script("import time\nprint('begun', flush=True)\ntime.sleep(1.5)\nprint('done')\n")
    code = (
        "import fcntl, sys, termios, time\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from tfgpu_tui.supervisor import launch\n"
        f"launch.start(launch.LaunchSpec(argv=[{str(script)!r}], cwd='.', python=sys.executable))\n"
        "time.sleep(60)\n"
    )
    master, slave = os.openpty()
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdin=slave, env=place.env, cwd=place.folder, start_new_session=True
    )
    os.close(slave)
    wait_until(lambda: place.runs(), "the run exists")
    run = place.only_run()
    wait_for_output(run, "begun")
    os.killpg(launcher.pid, blow)
    os.close(master)
    launcher.wait(60)
    assert wait_for_state(run, "ended").exit_code == 0
    assert run.output_log.read_text() == "begun\ndone\n"


def test_stages_of_a_stop_can_be_forced(place: Workplace) -> None:
    run = place.start(place.script(STUBBORN))
    wait_for_output(run, "ready")
    launch.stop(run)  # nothing is being trained: SIGINT at once
    wait_for_output(run, "no to INT")
    launch.stop(run, "batch")  # a stage that was passed changes nothing
    launch.stop(run, "terminate")
    wait_for_output(run, "no to TERM")
    assert listing.summary(run).state == "running"
    launch.stop(run, "kill")
    assert wait_for_state(run, "ended").signal == signal.SIGKILL
    stages = [event.stage for event in of_type(run, Stopping) if isinstance(event, Stopping)]
    assert stages == ["interrupt", "terminate", "kill"]


def test_sigterm_to_the_supervisor_stops_the_script(place: Workplace) -> None:
    run = place.start(place.script(SLEEPER))
    wait_for_output(run, "ready")
    pid = supervisor_of(run)
    wait_until(lambda: of_type(run, ChildStarted), "it looks after the script")
    os.kill(pid, signal.SIGINT)  # these two are not for it
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    assert wait_for_state(run, "ended").signal == signal.SIGTERM
    wait_until(run.report_path.exists, "the report is written")


def test_children_of_the_script_are_counted(place: Workplace) -> None:
    script = place.script(
        "import subprocess, sys\n"
        "busy = 'while True: pass'\n"
        "nested = f'import subprocess, sys; subprocess.run([sys.executable, \"-c\", {busy!r}])'\n"
        "print('ready', flush=True)\n"
        "subprocess.run([sys.executable, '-c', nested])\n"
    )
    run = place.start(script)

    def seen() -> bool:
        samples = [event for event in of_type(run, HostSample) if isinstance(event, HostSample)]
        return any(event.processes == 3 and (event.tree_cpu_percent or 0) > 30 for event in samples)

    wait_until(seen, "three processes and the grandchild's load were seen")
    sample = of_type(run, HostSample)[-1]
    assert isinstance(sample, HostSample)
    assert sample.tree_rss_bytes and sample.script_rss_bytes and sample.tree_rss_bytes > sample.script_rss_bytes
    launch.stop(run, "interrupt")  # as a key would: to the whole group
    wait_for_state(run, "ended")


def test_a_child_that_outlives_the_script_does_not_hold_the_run(place: Workplace) -> None:
    # In a session of its own: the end of the script's terminal would end it, as of each.
    alone = "import subprocess; print(subprocess.Popen(['sleep', '200'], start_new_session=True).pid)"
    run = place.start(place.script(alone))
    assert wait_for_state(run, "ended").exit_code == 0
    child = int(run.output_log.read_text())
    os.kill(child, signal.SIGKILL)  # it was still there


def test_states_of_runs(place: Workplace) -> None:
    ended = place.start(place.script("print('x')", "short.py"))
    wait_for_state(ended, "ended")
    lost = place.start(place.script(SLEEPER, "lost.py"))
    wait_for_output(lost, "ready")
    supervisor = supervisor_of(lost)
    meta = rundir.read_meta(lost)
    assert meta.keeper_pid is not None and meta.script_pid is not None
    os.kill(meta.keeper_pid, signal.SIGSTOP)  # so that it starts no other supervisor before it is killed, too
    os.kill(supervisor, signal.SIGKILL)
    os.kill(meta.keeper_pid, signal.SIGKILL)
    assert wait_for_state(lost, "lost").exit_code is None
    wait_until(lambda: rundir.process_start(meta.script_pid or 0) is None, "the hang-up ended the script")
    os.unlink(meta.socket)
    running = place.start(place.script(SLEEPER, "running.py"))
    wait_for_output(running, "ready")
    assert [run.state for run in place.runs()] == ["running", "lost", "ended"]
    removed = pruning.prune(0)
    assert [run.state for run in removed] == ["lost", "ended"]
    assert [run.id for run in place.runs()] == [running.id]
    listed = place.tool("runs", "--json").stdout
    assert b'"running"' in listed
    assert place.tool("stop", running.id, "--stage", "kill").returncode == 0
    wait_for_state(running, "ended")
    again = place.tool("stop", running.id)
    assert again.returncode == 2 and again.stderr.decode().strip() == f"tfgpu-tui: {running.id} is not running"


def test_attach_chooses_the_newest_running_run(place: Workplace) -> None:
    from tfgpu_tui.cli import watching

    older = place.start(place.script(SLEEPER, "older.py"))
    wait_for_output(older, "ready")
    newer = place.start(place.script("print('x')", "newer.py"))
    wait_for_state(newer, "ended")
    assert watching.newest().id == older.id
    launch.stop(older, "kill")
    wait_for_state(older, "ended")
    assert watching.newest().id == newer.id
    followed = place.tool("attach", "older")
    assert followed.returncode == 0 and b"tfgpu-tui report" in followed.stdout


def test_rerun_keeps_the_command(place: Workplace) -> None:
    first = place.start(
        place.script("import os, sys; print(sys.argv[1:], os.environ.get('TF_FORCE_GPU_ALLOW_GROWTH'))"), "-a"
    )
    wait_for_state(first, "ended")
    second = launch.start(launch.spec_again(rundir.read_meta(first), {"memory_growth": "on"}))
    wait_for_state(second, "ended")
    assert first.output_log.read_text() == "['-a'] None\n"
    assert second.output_log.read_text() == "['-a'] true\n"
    begun = of_type(second, RunStarted)[0]
    assert isinstance(begun, RunStarted) and begun.parent == first.id and begun.knobs == {"memory_growth": "on"}
    assert len(of_type(second, ChildStarted)) == 1


def test_an_interpreter_that_is_no_program_ends_the_run(place: Workplace) -> None:
    fake = place.script("this is no program", "fake-python")
    fake.chmod(0o755)
    run = launch.start(launch.LaunchSpec(argv=["x.py"], cwd=str(place.folder), python=str(fake)))
    assert wait_for_state(run, "ended").exit_code == 127
    assert "can't be started" in run.supervisor_log.read_text()


def test_what_the_keeper_is_told_survives_its_line() -> None:
    command = ["python", "train.py", "--", "A=B", ""]
    additions = {"TFGPU_TUI_KNOBS": '{"a": "b=c"}', "EMPTY": ""}
    words = Order.words("/a run", 7, 80, 24, {15, 34}, command)
    environment = Order.environment({"HOME": "/root"}, additions)
    assert not any("b=c" in word for word in words), "every user sees the command line"
    order = Order(words, environment)
    assert order.blocked == {15, 34} and Order(Order.words("/a run", 7, 80, 24, (), command), {}).blocked == set()
    assert environment == {"HOME": "/root"}
    assert (order.run_folder, order.listener, order.columns, order.rows) == ("/a run", 7, 80, 24)
    assert (order.additions, order.command) == (additions, command)


def test_a_socket_that_the_launcher_could_not_make_is_made_by_the_keeper(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfgpu_tui.supervisor.listening.listen", refuse)
    run = place.start(place.script(SLEEPER))
    wait_for_output(run, "ready")
    wait_until(lambda: Path(rundir.read_meta(run).socket).exists(), "there is a socket")
    launch.stop(run, "kill")
    assert wait_for_state(run, "ended").signal == signal.SIGKILL
    assert of_type(run, Fault) == []


def test_ignored_signals_of_the_launcher_are_not_handed_down(place: Workplace) -> None:
    """As under nohup."""
    look = "print(*(signal.getsignal(n) == signal.SIG_DFL for n in (1, 3, 15)), flush=True)"
    script = place.script(f"import signal\n{look}\n")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = place.start(script)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert wait_for_state(run, "ended").exit_code == 0
    assert run.output_log.read_text() == "True True True\n"


def test_the_supervisors_modules_do_not_come_from_the_users_folder(place: Workplace) -> None:
    place.script("raise RuntimeError('a module of the user')", "psutil.py")
    place.script("raise RuntimeError('a module of the user')", "platformdirs.py")
    run = place.start(place.script("print('ran')"))
    assert wait_for_state(run, "ended").exit_code == 0
    assert of_type(run, ChildStarted) and "RuntimeError" not in run.supervisor_log.read_text()
    assert sys.executable == rundir.read_meta(run).python


def test_since_when_a_finding_stands_is_in_the_journal(place: Workplace) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU: nothing is wrong with a script that sleeps")
    run = place.start(place.script(SLEEPER))
    wait_until(lambda: of_type(run, Standing), "the supervisor judged")
    (told,) = of_type(run, Standing)
    assert isinstance(told, Standing) and "gpu.none" in told.since and told.since["gpu.none"] <= told.t
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
