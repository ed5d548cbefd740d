"""A monitor that fails costs its report: the script runs to its end with its signals, and its exit status is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.process.conftest import Workplace, of_type, wait_for_state
from tests.process.test_signals_headless import Job
from tfgpu_tui.core.events import Environment, Fault

ENDS = "import sys, time\nprint('ran', flush=True)\ntime.sleep(0.8)\nsys.exit(7)\n"


@pytest.mark.parametrize("where", ["on PYTHONPATH", "in the current folder"])
def test_modules_of_the_users_are_the_scripts_and_not_ours(place: Workplace, where: str) -> None:
    foreign = place.folder / "foreign"
    foreign.mkdir()
    names = ("asyncio", "json", "psutil", "pynvml", "selectors", "signal", "socket", "textual", "threading")
    for name in names:
        (foreign / f"{name}.py").write_text("ours = True\n")
    (foreign / "script.py").write_text(f"import {', '.join(names)}\nprint(psutil.ours, asyncio.ours)\n")
    env = {**place.env, "PYTHONPATH": f"{foreign}:{place.env['PYTHONPATH']}"} if "PATH" in where else place.env
    done = subprocess.run(
        [*place.command("--headless", "script.py")], cwd=foreign, env=env, capture_output=True, timeout=180
    )
    assert (done.returncode, done.stdout) == (0, b"True True\n"), done.stderr
    run = place.only_run()
    assert of_type(run, Environment) and not of_type(run, Fault)


def test_the_users_modules_are_not_the_keepers(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = place.folder / "foreign"
    foreign.mkdir()
    for name in ("sitecustomize", "json", "psutil", "asyncio", "subprocess"):
        (foreign / f"{name}.py").write_text(
            "import sys\nours = True\nif 'tfgpu' in sys.argv[0]: raise RuntimeError(__name__)\n"
        )
    monkeypatch.setenv("PYTHONPATH", f"{foreign}:{place.env['PYTHONPATH']}")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    run = place.start(place.script("import json, os\nprint(json.ours, os.environ['PYTHONWARNINGS'])\n"))
    assert wait_for_state(run, "ended").exit_code == 0
    assert run.output_log.read_text().split() == ["True", "error"]
    assert of_type(run, Environment) and not of_type(run, Fault)
    assert run.supervisor_log.read_text() == ""


WITHOUT = {
    "8 descriptors": ["bash", "-c", 'ulimit -n 8; exec "$@"', "bash"],
    "/proc": [
        "unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)),
        "bash", "-c", 'mount -t tmpfs none /proc; exec "$@"', "bash",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", WITHOUT)
def test_a_machine_that_has_not_enough_for_the_monitor(place: Workplace, what: str) -> None:
    done = subprocess.run(
        [*WITHOUT[what], *place.command("--headless", "--report-json", "r.json", place.script(ENDS))],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=place.folder, env=place.env, timeout=180,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, b"ran\n")
    text = done.stderr.decode()
    assert text.startswith("tfgpu-tui: the monitor failed (") and "Traceback" not in text
    report = json.loads((place.folder / "r.json").read_text())
    assert report["run"]["exit_code"] == 7
    assert [fault["part"] for fault in report["monitor"]["faults"]] == ["monitor"]


BROKEN = {
    "a module that can't be loaded": "import sys\nsys.modules['psutil'] = None\n",
    "one that ends the process": (
        "import sys\nclass Ends:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'asyncio': sys.exit(0)\nsys.meta_path.insert(0, Ends())\n"
    ),
    "no memory for the report": (
        "from tfgpu_tui.supervisor import record\ndef close(self): raise MemoryError\nrecord.Recorder.close = close\n"
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_whatever_breaks_after_the_start(place: Workplace, how: str) -> None:
    """The script still gets its signals, and no half report lies about."""
    script = place.script(
        "import os, signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(7))\n"
        "for _ in range(20): os.system('(sleep 0.05 &)')\nprint('ready', os.getpid(), flush=True)\nsignal.pause()\n"
    )
    code = (
        BROKEN[how] + "import sys\nfrom tfgpu_tui.cli import command_line\nsys.exit(command_line.main(sys.argv[1:]))\n"
    )
    job = Job(place, "--report-json", "r.json", script, command=[sys.executable, "-c", code, "--headless"])
    job.script()
    os.kill(job.pid, signal.SIGUSR1)
    assert job.status() == 7
    (line,) = job.errors.splitlines()
    assert line.startswith("tfgpu-tui: the monitor failed (")
    assert "Traceback" in place.only_run().supervisor_log.read_text()
    assert sorted(entry.name for entry in place.folder.iterdir()) == ["script.py"]
