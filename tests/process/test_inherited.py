"""What a caller hands down to a program besides its arguments reaches the script, and does not disturb the monitor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Workplace, of_type, wait_for_output, wait_for_state
from tfgpu_tui.core.events import Fault, RunEnded, ScriptError
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

LOOK = """
import json, os, resource, signal, subprocess, sys
words = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
json.dump({
    "signals": {name: words[name] for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")},
    "python": {n: str(signal.getsignal(n)) for n in signal.valid_signals()},
    "umask": os.umask(0), "nice": os.nice(0), "oom": open("/proc/self/oom_score_adj").read(),
    "limits": [resource.getrlimit(n) for n in range(16)],
    "child": subprocess.run([sys.executable, "-c", "raise SystemExit(4)"]).returncode,
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))), "affinity": sorted(os.sched_getaffinity(0)),
}, sys.stdout)
sys.exit(3)
"""
CALLER = """
import os, resource, signal, sys
for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGRTMIN + 3):
    signal.signal(number, signal.SIG_IGN)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2])
os.umask(0o077)
os.nice(5)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 300))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
adjusted = max(300, int(open("/proc/self/oom_score_adj").read()))
open("/proc/self/oom_score_adj", "w").write(str(adjusted))
os.execv(sys.argv[1], sys.argv[1:])
"""
START = """
import os, sys
from tfgpu_tui.supervisor import launch
print(launch.start(launch.LaunchSpec(argv=sys.argv[1:], cwd=os.getcwd(), python=sys.executable)).path)
"""


@pytest.mark.parametrize("screen", [False, True])
def test_a_callers_signals_and_limits_are_the_scripts(place: Workplace, screen: bool) -> None:
    """A caller that ignores SIGCHLD: the kernel would throw the exit status away."""
    script, caller = place.script(LOOK), place.script(CALLER, "caller.py")

    def under_the_caller(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, caller, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd=place.folder, env=place.env, timeout=180,
        )  # fmt: skip

    plain = under_the_caller(sys.executable, script)
    assert plain.returncode == 3, plain.stderr
    if screen:
        started = under_the_caller(sys.executable, place.script(START, "start.py"), script)
        run = RunDir(Path(started.stdout.strip()))
        assert wait_for_state(run, "ended").exit_code == 3
        seen = run.output_log.read_text()
    else:
        done = under_the_caller(*place.command("--headless", script))
        assert done.returncode == 3
        run, seen = place.only_run(), done.stdout
    assert json.loads(seen) == json.loads(plain.stdout)
    (ended,) = of_type(run, RunEnded)
    assert isinstance(ended, RunEnded) and (ended.exit_code, ended.signal) == (3, None)


def test_an_alarm_clock_is_the_scripts(place: Workplace) -> None:
    """`perl -e 'alarm 1; exec @ARGV'`, in Python: it survives the exec of the tool and has to end the script."""
    caller = place.script("import os, signal, sys\nsignal.alarm(1)\nos.execv(sys.argv[1], sys.argv[1:])\n", "caller.py")
    script = place.script("import time; print('ready', flush=True); time.sleep(60)")
    done = subprocess.run(
        [sys.executable, caller, *place.command("--headless", script)],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=place.folder, env=place.env, timeout=180,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (128 + signal.SIGALRM, b"ready\n")
    assert b"tfgpu-tui report" in done.stderr


def test_a_background_helper_is_not_taken_for_the_script(place: Workplace) -> None:
    """Its parent ended, so the monitor is its parent now, as it is the script's."""
    helper = (
        "import os, time; parent = int(os.environ['HELPERS_PARENT'])\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "raise ValueError('of the helper')\n"
    )
    between = (
        "import os, subprocess, sys; os.environ['HELPERS_PARENT'] = str(os.getpid())\n"
        f"subprocess.Popen([sys.executable, '-c', {helper!r}], stderr=-3, close_fds=False)\n"
    )
    script = place.script(
        "import os, subprocess, sys\nread, write = os.pipe()\nos.set_inheritable(write, True)\n"
        f"subprocess.run([sys.executable, '-c', {between!r}], close_fds=False)\n"
        "os.close(write)\nos.read(read, 1)\nprint('over')\n"  # until the helper ended
    )
    done = place.tool("--headless", "--report-json", "r.json", script)
    assert (done.returncode, done.stdout) == (0, b"over\n")
    (error,) = of_type(place.only_run(), ScriptError)
    assert isinstance(error, ScriptError) and (error.message, error.main) == ("of the helper", False)
    found = json.loads((place.folder / "r.json").read_text())["findings"]
    (failed,) = [finding["title"] for finding in found if finding["id"] == "run.failed"]
    assert failed == "A child of the script failed: ValueError: of the helper"


def test_the_command_line_of_the_keeper_tells_nothing_of_the_environment(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of a machine can read it."""
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:/of/the/user")
    run = place.start(place.script("import os, sys\nprint(sorted(os.environ), flush=True)\nsys.stdin.readline()\n"))
    wait_for_output(run, "]")
    keeper = rundir.read_meta(run).keeper_pid
    line, environment = (Path(f"/proc/{keeper}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert b"script.py" in line and b"TFGPU_TUI_" not in line and b"/of/the/user" not in line
    assert b"/of/the/user" in environment
    assert "ADDITION" not in run.output_log.read_text()
    launch.command(run, {"cmd": "input", "text": "\n"})
    wait_for_state(run, "ended")


def test_what_is_asked_of_python_is_asked_of_the_script_alone(place: Workplace) -> None:
    """Warnings of the tool's own code, and a prompt at its end, are not for the script's terminal."""
    script = place.script("import os, sys\nprint(sys.warnoptions, sys.flags.dev_mode)\nopen(os.devnull)\n")
    asked = {"PYTHONDEVMODE": "1", "PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "always"}
    plain = subprocess.run([sys.executable, script], capture_output=True, cwd=place.folder, env={**place.env, **asked})
    done = place.tool("--headless", script, env=asked)
    assert done.stdout == plain.stdout and b"ResourceWarning" in plain.stderr and b"EncodingWarning" in plain.stderr
    assert done.stderr[: done.stderr.rindex(b"tfgpu-tui report")] == plain.stderr
    assert b"Warning" not in done.stderr[len(plain.stderr) :]


def test_a_prompt_is_the_scripts(place: Workplace) -> None:
    """PYTHONINSPECT: python asks for more after the script's end, and the tool does not after its own."""
    script = place.script("print('ran')\n")
    master, slave = os.openpty()
    os.write(master, b"import os; os._exit(6)\n")
    process = subprocess.Popen(
        place.command("--headless", script),
        stdin=slave, stdout=slave, stderr=slave, cwd=place.folder,
        env={**place.env, "PYTHONINSPECT": "1", "TERM": "dumb"},
    )  # fmt: skip
    try:
        assert process.wait(60) == 6, "the script's prompt read what was typed, and the tool asks for nothing"
        seen = os.read(master, 1 << 16)
        assert seen.count(b">>> ") == 1 and b"tfgpu-tui report" in seen and b"Traceback" not in seen
    finally:
        process.kill()
        os.close(slave)
        os.close(master)


def test_a_prompt_in_a_terminal_of_its_own(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONINSPECT", "1")
    run = place.start(place.script("print('ran')\n"))
    wait_for_output(run, ">>> ")
    launch.command(run, {"cmd": "input", "text": "import os; os._exit(6)\n"})
    assert wait_for_state(run, "ended").exit_code == 6
    assert "Traceback" not in run.supervisor_log.read_text()
    assert of_type(run, Fault) == []
