"""`tfgpu-tui bundle`: what a stranger would read in it, and what not."""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path

import pytest

from tfgpu_tui.cli import command_line
from tfgpu_tui.cli.replaced import Replaced
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import ReadFolder, ScriptLine
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.journal import JournalWriter, part_path
from tfgpu_tui.runs.rundir import RunDir

SECRETS = (
    "anna",
    "moon-project",
    "secret-model",
    "--token=abc123",
    "node17.cluster.example",
    "private_step",
    "nas7",
    "moonexport",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("platform.node", lambda: "node17.cluster.example")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    argv = ["private_step.py", "--token=abc123", "/home/anna/moon-project/secret-model.keras", "4"]
    made = rundir.create(argv, cwd="/home/anna/moon-project", python=sys.executable)
    t = rundir.read_meta(made).started
    writer = JournalWriter(made.journal)
    writer.append(ev.RunStarted(t=t, id=made.id, argv=argv, cwd="/home/anna/moon-project", python=sys.executable))
    writer.append(ev.Environment(t=t, src="host", host="node17.cluster.example", cpu_count=4))
    read: ReadFolder = {"folder": "/home/anna/moon-project/rows", "looks": 4, "mount": "/home/anna/moon-project"}
    read |= {"file_system": "fuse.sshfs", "source": "anna@nas7:/moonexport"}
    writer.append(ev.ReadFiles(t=t + 3, src="host", looks=4, folders=[read]))
    writer.append(ev.RunEnded(t=t + 4, exit_code=0))
    writer.close()
    return made


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        return {Path(m.name).name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]


def test_names_are_replaced_the_same_in_all_files(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["bundle", run.id, "--yes"]) == 0
    said = capfd.readouterr().out
    assert "node17.cluster.example" in said and "written: tfgpu-tui-report.tar.gz" in said
    found = contents(Path("tfgpu-tui-report.tar.gz"))
    assert set(found) == {"journal.jsonl", "report.json", "doctor.json"}
    for name, text in found.items():
        assert not [secret for secret in (*SECRETS, run.id) if secret in text], name
    first = json.loads(found["journal.jsonl"].splitlines()[0])
    assert first["argv"][0].endswith(".py") and len(first["argv"]) == 4
    assert json.loads(found["report.json"])["run"]["argv"] == first["argv"]
    assert "host-1" in found["journal.jsonl"]


def test_what_a_run_says_of_its_user_in_passing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In messages and lines of code, in names of other runs and other machines; a folder with a blank, a short host."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("platform.node", lambda: "vm")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    argv, cwd = ["tools/acme_train.py", "train", "--name=anna_7", "s3://acme-bucket/rows"], "/home/anna/Acme Project"
    made = rundir.create(argv, cwd=cwd, python=sys.executable)
    t = rundir.read_meta(made).started
    lost = "[Errno 2] No such file or directory: 'acmedata/customers.csv'"
    code = "model.save_weights('of_anna.acme.weights.h5')"
    line: ScriptLine = {"file": f"{cwd}/tools/acme_train.py", "line": 7, "function": "save", "text": code, "looks": 9,
                        "waiting": 0}  # fmt: skip
    writer = JournalWriter(made.journal)
    for event in (
        ev.RunStarted(t=t, id=made.id, argv=argv, cwd=cwd, python=sys.executable, host="vm",
                      parent="acme_train-20261120-101112"),
        ev.Environment(t=t, src="host", host="vm", cpu_count=4),
        ev.Member(t=t, src="agent", pid=7, job="acme-node9.example:2222", rank=0, launcher="environment"),
        ev.Steps(t=t + 9, src="agent", pid=7, steps=90, wall_s=9.0, phase="train"),
        ev.ScriptLines(t=t + 9, src="agent", pid=7, looks=9, loop_looks=9, loop=[line]),
        ev.ScriptError(t=t + 9, src="agent", pid=7, exception="FileNotFoundError", message=lost,
                       file=f"{cwd}/tools/acme_train.py", line=7, main=True),
        ev.RunEnded(t=t + 9, exit_code=1),
    ):  # fmt: skip
        writer.append(event)
    writer.close()
    assert command_line.main(["bundle", made.id, "--yes"]) == 0
    found = contents(Path("tfgpu-tui-report.tar.gz"))
    for name, text in found.items():
        assert not re.findall(r"anna|acme|customers|project|\"vm\"", text, re.IGNORECASE), name
    events = [json.loads(row) for row in found["journal.jsonl"].splitlines()]
    assert [event["phase"] for event in events if event["type"] == "steps"] == ["train"], "a word of the journal's own"
    assert events[0]["argv"][1].startswith("argument-")
    assert json.loads(found["report.json"])["findings"][0]["id"] == "run.failed"


def test_the_parts_of_a_rolled_journal_are_in_it(run: RunDir) -> None:
    writer = JournalWriter(run.journal)
    writer.roll(part_path(run.journal, 1, ".jsonl"))
    writer.append(ev.RunEnded(t=rundir.read_meta(run).started + 5, exit_code=3))
    writer.close()
    assert command_line.main(["bundle", run.id, "--yes"]) == 0
    lines = contents(Path("tfgpu-tui-report.tar.gz"))["journal.jsonl"].splitlines()
    types = ["run_started", "environment", "read_files", "run_ended", "run_ended"]
    assert [json.loads(line)["type"] for line in lines] == types


def test_it_is_still_a_journal(run: RunDir, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["bundle", run.id, "--yes", "--output", "b.tar.gz"]) == 0
    (tmp_path / "journal.jsonl").write_text(contents(Path("b.tar.gz"))["journal.jsonl"])
    capfd.readouterr()
    assert command_line.main(["report", str(tmp_path / "journal.jsonl")]) == 0
    assert "left out" not in capfd.readouterr().out


def test_nothing_is_written_unasked(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["bundle", run.id]) == 2
    assert "--yes" in capfd.readouterr().err
    assert not Path("tfgpu-tui-report.tar.gz").exists()
    Path("there.tar.gz").write_text("mine")
    assert command_line.main(["bundle", run.id, "--yes", "--output", "there.tar.gz"]) == 2
    assert Path("there.tar.gz").read_text() == "mine"


def test_what_helps_to_read_it_is_kept() -> None:
    replaced = Replaced()
    assert replaced.text("/usr/lib/x86_64/libcuda.so.1") == "/usr/lib/x86_64/libcuda.so.1"
    assert replaced.text("/home/a/venv/lib/python3.11/site-packages/keras/x.py:3").endswith(
        "/site-packages/keras/x.py:3"
    )
    assert replaced.text("/device:GPU:0 and /job:localhost/replica:0/task:0/device:CPU:0").count("path-") == 0
    assert replaced.text("/home/a/state/data.py") == "/path-1/path-2/path-4/path-5.py"
    assert replaced.value({"state": "data in /home/state", "x": "data.py:3"}) == {
        "state": "data in /path-1/path-4",
        "x": "path-5.py:3",
    }
    assert replaced.text("12 ms/step, and/or 3/4") == "12 ms/step, and/or 3/4"
