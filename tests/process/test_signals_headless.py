"""Signals of a headless run: who started the tool signals the tool, or everybody; the script gets each once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.conftest import DEADLINE_S, Workplace, wait_until
from tfgpu_tui.runs import rundir
from tfgpu_tui.supervisor.relay import SETTLE_S

NOTES = """
import os, signal, sys, time

def note(number, frame):
    print(f"got {number}", flush=True)
    if number == signal.SIGTERM:
        time.sleep(0.2)  # saves its model
        sys.exit(9)

for number in map(int, sys.argv[1:]):
    signal.signal(number, note)
print("ready", os.getpid(), flush=True)
while True:
    time.sleep(60)
"""
TERM = int(signal.SIGTERM)


class Job:
    """The tool as a shell or a scheduler starts it: the leader of a process group of its own."""

    def __init__(
        self,
        place: Workplace,
        *arguments: str | Path,
        before: tuple[str, ...] = (),
        command: list[str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*before, *(command or place.command("--headless")), *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder, env=place.env,
            preexec_fn=os.setpgrp,
        )  # fmt: skip
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.pid = self.process.pid
        self.seen = ""

    def output(self) -> str:
        assert self.process.stdout is not None
        self.seen += (self.process.stdout.read() or b"").decode()
        return self.seen

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output(), f"the script printed {text!r}")

    def script(self) -> int:
        """Its pid, once it is ready."""
        ready = re.compile(r"ready (\d+)\s")  # a read may end within the line
        wait_until(lambda: ready.search(self.output()), "the script is ready")
        found = ready.search(self.seen)
        assert found
        return int(found[1])

    def status(self) -> int:
        status = self.process.wait(DEADLINE_S)
        self.output()
        assert self.process.stdout is not None and self.process.stderr is not None
        self.errors = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def members(group: int) -> list[int]:
    """The processes of a group, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                found.append(int(entry.name))
    return sorted(found)


def state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "gone"


def switches(pid: int) -> int:
    """How often a process has left a core: it was running since, where that has grown."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def one_by_one(job: Job, number: int, order: Callable[[list[int]], list[int]]) -> None:
    for pid in order(members(job.pid)):
        os.kill(pid, number)
        time.sleep(0.005)


def by_name(job: Job, number: int, name: str) -> None:
    subprocess.run(["pkill", f"-{number}", "-g", str(job.pid), *name.split()], check=True)


def like_timeout(job: Job, number: int) -> None:
    os.kill(job.pid, number)
    os.killpg(job.pid, number)


WAYS: dict[str, Callable[[Job, int], None]] = {
    "the tool alone": lambda job, number: os.kill(job.pid, number),
    "the group (a terminal, kill -- -GROUP)": lambda job, number: os.killpg(job.pid, number),
    "the tool, then the group (timeout)": like_timeout,
    "each process of the step, the tool first (srun)": lambda job, number: one_by_one(job, number, list),
    "each process, the tool last": lambda job, number: one_by_one(job, number, lambda pids: pids[::-1]),
    "all that have the script in their command line": lambda job, number: by_name(job, number, "-f script.py"),
    "the tool by its name": lambda job, number: by_name(job, number, "-f tfgpu_tui"),
}


def test_each_signal_reaches_the_script_once(place: Workplace) -> None:
    numbers = [signal.SIGUSR1, signal.SIGINT, signal.SIGXCPU, signal.SIGALRM, signal.SIGHUP, signal.SIGQUIT,
               signal.SIGRTMIN + 3]  # fmt: skip
    job = Job(place, place.script(NOTES), *(str(int(number)) for number in (*numbers, TERM)))
    job.script()
    got: dict[str, list[int]] = {}
    for (way, send), number in zip(WAYS.items(), numbers, strict=True):
        before = job.output().count("got")
        send(job, number)
        wait_until(lambda before=before: job.output().count("got") > before, f"a signal came: {way}")  # type: ignore[misc]
        time.sleep(1.5 * SETTLE_S)  # a second one would come by then
        got[way] = [int(word) for word in re.findall(r"got (\d+)", job.output())[before:]]
    os.kill(job.pid, TERM)
    assert job.status() == 9
    assert got == {way: [int(number)] for way, number in zip(WAYS, numbers, strict=True)}
    assert "exit code 9" in job.errors


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGXCPU, signal.SIGINT, signal.SIGABRT])
def test_a_signal_that_the_script_does_not_handle_ends_it_as_plain_python(place: Workplace, number: int) -> None:
    """The first thing that the tool hears of is the signal: the monitor itself is still being loaded."""
    script = place.script("import time\nprint('ready', 0, flush=True)\ntime.sleep(60)\n")
    job = Job(place, script)
    job.script()
    os.kill(job.pid, number)
    assert job.status() == 128 + number
    assert json.loads(place.only_run().report_path.read_text())["run"]["signal"] == number


def test_a_signal_before_the_script_was_started_is_for_the_script(place: Workplace) -> None:
    code = (
        "import os, signal\nfrom tfgpu_tui.cli import command_line\nfrom tfgpu_tui.supervisor import child\n"
        "started = child.spawn_inherited\n"
        "def signalled(*arguments):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return started(*arguments)\n"
        "child.spawn_inherited = signalled\n"
        f"raise SystemExit(command_line.main(['--headless', {str(place.script('import time; time.sleep(60)'))!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=place.env, timeout=180)
    assert done.returncode == 128 + signal.SIGTERM and b"by SIGTERM" in done.stderr


@pytest.mark.parametrize("leave", ["os.setpgid(0, 0)", "os.setsid()"])
def test_a_script_that_leaves_the_group_gets_what_is_sent_to_that(place: Workplace, leave: str) -> None:
    """In plain python it often leads that group: the terminal, `timeout` and `kill -- -GROUP` mean the script."""
    job = Job(place, place.script(f"import os\n{leave}\n{NOTES}"), str(TERM))
    job.script()
    os.killpg(job.pid, TERM)
    assert (job.status(), job.seen.count("got")) == (9, 1)


def test_a_signal_that_the_caller_ignores_reaches_a_script_that_handles_it(place: Workplace) -> None:
    """As SIGINT in the background of a shell script, SIGHUP under nohup."""
    ignoring = ("sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh")
    job = Job(place, place.script(NOTES), str(int(signal.SIGINT)), str(TERM), before=ignoring)
    job.script()
    os.kill(job.pid, signal.SIGHUP)  # it has no handler of that
    os.kill(job.pid, signal.SIGINT)
    job.wait_for(f"got {int(signal.SIGINT)}")
    os.kill(job.pid, TERM)
    assert (job.status(), job.seen.count("got")) == (9, 2)


def test_what_the_script_closes_is_closed(place: Workplace) -> None:
    """Its reader, or who waits for its word that it is ready, does not wait for the tool."""
    text = "import os, sys\nprint('said', flush=True)\nos.close(1)\nos.close(int(sys.argv[1]))\ninput()\n"
    ready, told = os.pipe()
    tool = subprocess.Popen(
        place.command("--headless", place.script(text), str(told)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, cwd=place.folder, env=place.env, pass_fds=[told],
    )  # fmt: skip
    os.close(told)
    assert tool.stdout is not None and tool.stdin is not None
    assert tool.stdout.read() == b"said\n" and os.read(ready, 1) == b"" and tool.poll() is None
    os.close(ready)
    tool.communicate(b"\n", timeout=DEADLINE_S)
    assert tool.returncode == 0


def test_an_ignored_signal_stays_ignored(place: Workplace) -> None:
    """nohup, and the background jobs of a shell without job control."""
    script = place.script(
        "import signal; print('ready', signal.getsignal(signal.SIGHUP).value, flush=True); signal.pause()"
    )
    job = Job(place, script, before=("nohup",))
    wait_until(lambda: "ready 1" in job.output(), "the script is ready")
    os.kill(job.pid, signal.SIGHUP)
    time.sleep(2 * SETTLE_S)
    assert job.process.poll() is None
    os.killpg(job.pid, signal.SIGTERM)
    assert job.status() == 128 + signal.SIGTERM


def test_a_stop_of_the_tool_alone_is_the_scripts_and_then_its_own(place: Workplace) -> None:
    job = Job(place, place.script(NOTES), str(int(signal.SIGCONT)), str(TERM))
    script = job.script()
    os.kill(job.pid, signal.SIGTSTP)
    wait_until(lambda: state(script) == state(job.pid) == "T", "script and tool have stopped")
    os.kill(job.pid, signal.SIGCONT)
    job.wait_for(f"got {int(signal.SIGCONT)}")
    wait_until(lambda: state(script) == "S" and state(job.pid) in "SR", "both go on")
    os.kill(job.pid, TERM)
    assert job.status() == 9


def test_a_script_that_takes_no_stop_keeps_the_tool_going(place: Workplace) -> None:
    job = Job(place, place.script(NOTES), str(int(signal.SIGTSTP)), str(TERM))
    job.script()
    os.kill(job.pid, signal.SIGTSTP)
    job.wait_for(f"got {int(signal.SIGTSTP)}")
    os.kill(job.pid, TERM)
    assert job.status() == 9


class Shell:
    """An interactive shell with job control, on a terminal of its own."""

    def __init__(self, place: Workplace) -> None:
        self.master, slave = os.openpty()
        code = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('bash', ['bash', '--norc'])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=slave, stdout=slave, stderr=slave, cwd=place.folder, env={**place.env, "PS1": "$ ", "TERM": "dumb"},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """What came since the last one, up to this."""
        end = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self._seen)):
            if time.monotonic() > end:
                pytest.fail(f"waited in vain for {pattern!r} in {self._seen!r}")
            if select.select([self.master], [], [], 0.1)[0]:
                self._seen += os.read(self.master, 4096).decode(errors="replace")
        self._seen = self._seen[found.end() :]
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def shell(place: Workplace) -> Iterator[Shell]:
    shell = Shell(place)
    yield shell
    shell.close()


def test_job_control_is_that_of_plain_python(place: Workplace, shell: Shell) -> None:
    place.script("import os\nprint('ready', os.getpid(), flush=True)\nprint('read', input(), flush=True)\nexit(7)\n")
    shell.type(" ".join(place.command("--headless", "script.py")) + "\n")
    script = int(shell.until(r"ready (\d+)")[1])
    tool = os.getpgid(script)
    shell.type("\x1a")
    shell.until(r"Stopped")
    assert state(script) == state(tool) == "T"
    shell.type("jobs\n")
    shell.until(r"\[1\]\+\s+Stopped.*tfgpu_tui")
    before = switches(script)
    shell.type("bg\n")
    shell.until(r"tfgpu_tui")
    wait_until(
        lambda: switches(script) > before and state(script) == state(tool) == "T",
        "a script in the background has gone on, and has stopped as it reads",
    )
    shell.type("fg\n")
    shell.until(r"script\.py")
    wait_until(lambda: state(script) == "S" and state(tool) in "SR", "both go on")
    shell.type("hello\n")
    shell.until(r"read hello")
    shell.type("echo status=$?\n")
    shell.until(r"status=7")


def test_the_report_of_a_background_job_comes_in_spite_of_tostop(place: Workplace, shell: Shell) -> None:
    place.script("import time; time.sleep(0.5)\n")
    shell.type("stty tostop\n" + " ".join(place.command("--headless", "script.py")) + " &\n")
    shell.until(r"tfgpu-tui report")
    shell.type("wait; echo status=$?\n")
    shell.until(r"status=0")


def witness_of(job: Job, script: int) -> int:
    (witness,) = set(members(job.pid)) - {job.pid, script}
    return witness


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_tool_leaves_its_script_and_nothing_else(place: Workplace, stopped: bool) -> None:
    # The kernel sends SIGHUP to a stopped group that the tool's end leaves without a parent in the session.
    job = Job(place, place.script(NOTES), str(TERM), str(int(signal.SIGHUP)))
    script = job.script()
    wait_until(lambda: len(members(job.pid)) == 3, "script and witness are there")
    witness = witness_of(job, script)
    assert Path(f"/proc/{witness}/comm").read_text() == Path(f"/proc/{script}/comm").read_text()
    if stopped:
        os.killpg(job.pid, signal.SIGSTOP)
        wait_until(lambda: state(witness) == "T", "all have stopped")
    os.kill(job.pid, signal.SIGKILL)
    if stopped:
        os.killpg(job.pid, signal.SIGCONT)
    assert job.process.wait(60) == -signal.SIGKILL
    wait_until(lambda: state(witness) in ("gone", "Z"), "the witness is gone")
    wait_until(lambda: state(script) == "S", "the script goes on")
    os.kill(script, TERM)
    job.wait_for(f"got {TERM}")
    job.status()
    rundir.remove_socket(Path(rundir.read_meta(place.only_run()).socket))  # nobody was there to do it


def test_signals_during_the_report_change_nothing(place: Workplace) -> None:
    """The report goes into a pipe that nobody reads: the tool gives it up after a while, and says so."""
    os.mkfifo(place.folder / "pipe")
    job = Job(place, "--report-json", "pipe", place.script(NOTES), str(TERM))
    script = job.script()
    os.kill(job.pid, TERM)
    wait_until(lambda: state(script) in ("Z", "gone"), "the script ended")
    sent = 0
    while job.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, TERM if sent % 2 else signal.SIGINT)
        sent += 1
        time.sleep(0.05)
    assert job.status() == 9 and sent > 20
    assert "exit code 9" in job.errors and "nobody reads" in job.errors


ORPHANS = """
import os, time
for _ in range(200):
    os.system("(sleep 0.05 &)")
print("ready", os.getpid(), flush=True)
time.sleep(60)
"""


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def zombies_of(pid: int) -> int:
    return sum(state(child) == "Z" for child in children_of(pid))


def test_orphans_that_ended_do_not_stay_zombies(place: Workplace) -> None:
    job = Job(place, place.script(ORPHANS))
    job.script()
    wait_until(lambda: zombies_of(job.pid) < 5, "what the script left behind was taken leave of")
    os.kill(job.pid, TERM)
    assert job.status() == 128 + TERM


def test_as_the_first_process_of_a_container(place: Workplace) -> None:
    """The kernel keeps from process 1 each signal that it has no handler for; `docker stop` sends SIGTERM to it."""
    unshare = ("unshare", "--pid", "--fork", "--mount-proc", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    text = NOTES.replace('print("ready"', 'os.system("(sleep 0.05 &)")\nprint("ready", os.getppid() == 1')
    job = Job(place, place.script(text), str(TERM), str(int(signal.SIGUSR1)), before=unshare)
    job.wait_for("ready True")
    (first,) = children_of(job.pid)
    wait_until(lambda: "sleep" not in map(name_of, children_of(first)), "an orphan that ended was taken leave of")
    os.kill(first, signal.SIGUSR1)
    job.wait_for(f"got {int(signal.SIGUSR1)}")
    os.kill(first, TERM)
    assert job.status() == 9
    assert "exit code 9" in job.errors
