"""Fixtures for tests with real processes: a state folder of their own, and proof that nothing is left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tfgpu_tui.core.events import Event
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

DEADLINE_S = 60.0
"""Of one wait. A busy machine takes ten times as long as a free one; only a failure waits for so long."""


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Waits for a condition; fails with `what` was waited for."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:.0f} s in vain until {what}")
        time.sleep(0.02)


def read_journal(run: RunDir) -> list[Event]:
    with rundir.JournalReader(run.journal) as reader:
        return list(reader)


def of_type(run: RunDir, kind: type[Event]) -> list[Event]:
    return [event for event in read_journal(run) if isinstance(event, kind)]


def processes_with(marker: str) -> list[int]:
    """Processes (zombies apart) that have `marker` in their environment: everything that a test started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


@dataclass
class Workplace:
    """A folder for scripts, and a state folder whose name marks every process that a test starts."""

    folder: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def script(self, text: str, name: str = "script.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "tfgpu_tui", *map(str, arguments)]

    def tool(
        self, *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs the tool to its end without a terminal."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.env, **(env or {})},
            timeout=3 * DEADLINE_S,
        )

    def start(self, script: Path, *arguments: str, columns: int = 80, rows: int = 24) -> RunDir:
        """Starts a detached run."""
        return launch.start(
            launch.LaunchSpec(
                argv=[str(script), *arguments],
                cwd=str(self.folder),
                python=sys.executable,
                columns=columns,
                rows=rows,
            )
        )

    def runs(self) -> list[listing.RunSummary]:
        return listing.list_runs()

    def only_run(self) -> RunDir:
        (run,) = self.runs()
        return RunDir(run.path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    runtime = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))  # short: a socket's path holds 107 bytes
    state = tmp_path / "state"
    for variable in list(os.environ):
        if variable.startswith("TFGPU_TUI_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(state))
    monkeypatch.setenv("TFGPU_TUI_TOUR", "no")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TFGPU_TUI_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "work").mkdir()
    yield Workplace(tmp_path / "work", state, dict(os.environ))
    try:
        wait_until(lambda: not processes_with(str(state)), "every process of the test had ended")
    finally:
        for pid in processes_with(str(state)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left = list((runtime / "tfgpu-tui").iterdir()) if (runtime / "tfgpu-tui").exists() else []
        shutil.rmtree(runtime, ignore_errors=True)
    assert not left, f"sockets left behind: {left}"


@pytest.fixture
def small_disk(place: Workplace) -> Iterator[Path | None]:
    """The state folder on a disk of 2 MiB, where this user may mount one; else None."""
    place.state.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place.state)]
    mounted = os.geteuid() == 0 and subprocess.run(["mount", *options], capture_output=True).returncode == 0
    yield place.state if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(place.state)], check=True)


def wait_for_state(run: RunDir, state: str) -> listing.RunSummary:
    wait_until(lambda: listing.summary(run).state == state, f"the run is {state}")
    return listing.summary(run)


def supervisor_of(run: RunDir, not_this: int | None = None) -> int:
    """The supervisor's pid, once it looks after the run; of the next one, where `not_this` was killed."""

    def there() -> bool:
        pid = rundir.read_meta(run).supervisor_pid
        return pid is not None and pid != not_this and rundir.process_start(pid) is not None

    wait_until(there, "the run has a supervisor")
    pid = rundir.read_meta(run).supervisor_pid
    assert pid is not None
    return pid


def wait_for_output(run: RunDir, text: str) -> None:
    wait_until(lambda: run.output_log.exists() and text in run.output_log.read_text(), f"the script printed {text!r}")
