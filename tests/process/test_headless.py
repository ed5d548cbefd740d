"""Headless: to the script and to whoever reads its output, it is plain python; the report comes after it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.process.conftest import Workplace, of_type, wait_until
from tfgpu_tui.core.events import AgentConnected, Environment, GpuSample, HostSample, RunEnded

BINARY = """
import os, sys
sys.stdout.buffer.write(bytes(range(256)) * 200)
sys.stdout.flush()
sys.stderr.write("a warning\\n")
os.write(1, b"last \\x00 bytes without a newline")
print(sys.argv[1:], os.isatty(0), os.isatty(1), os.isatty(2), os.getcwd(), sys.stdin.read(), file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize(("chosen", "told"), [((), "off"), (("--set", "profile=auto"), "auto")])
def test_the_profiler_writes_nothing_into_a_headless_runs_stderr(
    place: Workplace, chosen: tuple[str, ...], told: str
) -> None:
    """TensorFlow's own lines about a profiler's session would stand there: it is not used unless it is asked for."""
    script = place.script("import json, os; print(json.loads(os.environ['TFGPU_TUI_KNOBS'])['profile'])")
    done = place.tool("--headless", *chosen, script)
    assert (done.returncode, done.stdout.decode()) == (0, told + "\n")


def test_streams_and_status_equal_plain_python(place: Workplace) -> None:
    script = place.script(BINARY)
    arguments = [str(script), "--headless", "--", "-x", "--help"]
    plain = subprocess.run([sys.executable, *arguments], input=b"typed", capture_output=True, cwd=place.folder)
    ours = place.tool("--headless", *arguments, stdin=b"typed")
    assert plain.returncode == ours.returncode == 7
    assert plain.stdout == ours.stdout and len(ours.stdout) > 51200
    assert ours.stderr.startswith(plain.stderr), "the script's stderr comes first and unchanged"
    report = ours.stderr[len(plain.stderr) :].decode()
    assert "exit code 7" in report and "['--headless', '--', '-x', '--help']" in plain.stderr.decode()


def test_pythons_own_options_reach_it(place: Workplace) -> None:
    place.script("import sys; print(sys.flags.optimize, sys.flags.dev_mode, sys.argv[1:])", "__main__.py")
    with zipfile.ZipFile(place.folder / "app.pyz", "w") as archive:
        archive.write(place.folder / "__main__.py", "__main__.py")
    code = "import sys; print(sys.flags.optimize, sys.flags.dev_mode, sys.argv)"
    for script in (["."], ["app.pyz"], ["-c", code]):
        words = ["-OOu", "-X", "dev", "-Wignore", *script, "-u", "--headless"]
        plain = subprocess.run([sys.executable, *words], capture_output=True, cwd=place.folder)
        ours = place.tool("--headless", *words)
        assert (ours.returncode, ours.stdout) == (0, plain.stdout) and plain.stdout.startswith(b"2 True ["), ours.stderr
        assert place.runs()[0].argv == words


def test_headless_is_chosen_without_a_terminal(place: Workplace) -> None:
    done = place.tool(place.script("print('hi')"))
    assert (done.returncode, done.stdout) == (0, b"hi\n")
    assert b"tfgpu-tui report" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_becomes_128_plus_its_number(place: Workplace, number: signal.Signals) -> None:
    script = place.script(f"import os; os.kill(os.getpid(), {int(number)})")
    target = place.folder / "report.json"
    done = place.tool("--headless", "--report-json", target, script)
    assert done.returncode == 128 + number
    run = json.loads(target.read_text())["run"]
    assert (run["exit_code"], run["signal"]) == (None, number)


def test_report_is_written_when_the_script_raises(place: Workplace) -> None:
    script = place.script("raise SystemExit(3)")
    done = place.tool("--headless", "--report-json", "report.json", script)
    assert done.returncode == 3
    report = json.loads((place.folder / "report.json").read_text())
    assert report["schema"] == 1 and report["run"]["exit_code"] == 3
    assert json.loads(place.only_run().report_path.read_text()) == report


def test_module_and_its_arguments(place: Workplace) -> None:
    (place.folder / "pkg").mkdir()
    (place.folder / "pkg" / "__main__.py").write_text("import sys; print(sys.argv[1:], __package__)")
    done = place.tool("--headless", "-m", "pkg", "--epochs", "3")
    assert done.stdout == b"['--epochs', '3'] pkg\n"


def test_sigterm_reaches_the_script_which_decides(place: Workplace) -> None:
    script = place.script(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (print('saved', flush=True), sys.exit(9)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    process = subprocess.Popen(
        place.command("--headless", script), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=place.env
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert (out, process.returncode) == (b"saved\n", 9)


def test_ctrl_c_in_a_terminal_reaches_the_script_and_the_tool_waits(place: Workplace) -> None:
    script = place.script(
        "import os, sys, time\n"
        "try:\n    print('ready', os.isatty(0), os.isatty(1), os.isatty(2), flush=True); time.sleep(30)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.3); print('tidied up', flush=True); sys.exit(5)\n"
    )
    master, slave = os.openpty()
    code = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *place.command("--headless", script)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=place.env,
        start_new_session=True,
    )
    os.close(slave)
    seen = bytearray()

    def read_until(text: bytes) -> bool:
        seen.extend(os.read(master, 4096))
        return text in seen

    wait_until(lambda: read_until(b"ready True True True"), "the script is ready, on a terminal")
    os.write(master, b"\x03")
    wait_until(lambda: read_until(b"tidied up"), "the script handled Ctrl+C")
    wait_until(lambda: read_until(b"tfgpu-tui report"), "the report came")
    assert process.wait(60) == 5
    os.close(master)
    assert b"Traceback" not in seen


def test_plain_prints_status_lines(place: Workplace) -> None:
    done = place.tool("--plain", place.script("import time; time.sleep(8)"))
    assert done.returncode == 0
    assert re.search(rb"\[tfgpu-tui 00:\d\d\]", done.stderr), "after five seconds, or a little later"


def test_the_journal_tells_the_run(place: Workplace) -> None:
    script = place.script("import time; time.sleep(3)")
    place.tool("--headless", "--interval", "0.2", script, "a", "b")
    run = place.only_run()
    assert len(of_type(run, AgentConnected)) == 1
    assert len(of_type(run, HostSample)) >= 4
    (ended,) = of_type(run, RunEnded)
    assert isinstance(ended, RunEnded) and ended.exit_code == 0 and 2.9 < ended.wall_s < 15
    machine = of_type(run, Environment)[0]
    assert isinstance(machine, Environment) and machine.cpu_count == len(os.sched_getaffinity(0))
    (summary,) = place.runs()
    assert (summary.state, summary.exit_code, summary.argv) == ("ended", 0, [str(script), "a", "b"])
    assert oct(run.path.stat().st_mode & 0o777) == "0o700"


def test_an_interpreter_without_tensorflow_still_runs(place: Workplace, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    done = place.tool("--headless", "--python", tmp_path / "bare" / "bin" / "python", place.script("print('ran')"))
    assert done.stdout == b"ran\n"
    said = [event.tensorflow for event in of_type(place.only_run(), Environment) if isinstance(event, Environment)]
    assert "missing" in said


def test_without_nvml_the_gpu_sampler_says_so(place: Workplace) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    place.tool("--headless", place.script("import time; time.sleep(3)"))
    (sample,) = of_type(place.only_run(), GpuSample)
    assert isinstance(sample, GpuSample)
    assert (sample.status, sample.gpus) == ("no_library", []) and sample.message


def test_a_descriptor_of_the_caller_reaches_the_script(place: Workplace) -> None:
    read_end, write_end = os.pipe()
    script = place.script(f"import os; os.write({write_end}, b'through')")
    subprocess.run(
        place.command("--headless", script), pass_fds=[write_end], env=place.env, capture_output=True, timeout=120
    )
    os.close(write_end)
    assert os.read(read_end, 100) == b"through"
    os.close(read_end)
