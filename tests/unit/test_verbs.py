"""What is said on leaving the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgpu_tui.cli import watching
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.journal import JournalWriter
from tfgpu_tui.runs.rundir import RunDir


def made(name: str, parent: RunDir | None, started: float) -> RunDir:
    run = rundir.create([f"{name}.py"], cwd="/", python="python3", parent=parent.id if parent else None)
    rundir.write_meta(run, rundir.read_meta(run)._replace(started=started))
    writer = JournalWriter(run.journal)
    writer.append(ev.RunEnded(t=started + 1, exit_code=0))
    writer.close()
    return run


def test_the_newest_of_many_reruns_is_found_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path))
    first = last = made("first", None, 1000.0)
    for number in range(60):
        last = made("first", last, 1001.0 + number)
    made("other", None, 2000.0)
    read, reads = rundir.read_meta, []

    def counted(run: RunDir) -> rundir.Meta:
        reads.append(run.id)
        return read(run)

    monkeypatch.setattr(rundir, "read_meta", counted)
    watching._say_what_became(first)
    assert capfd.readouterr().out.startswith(f"{last.id} finished")
    assert len(reads) <= 62 + 2, "each run's meta.json once, and what became of the newest"
