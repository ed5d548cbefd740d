"""The caller's command for new findings: once each, apart from the training, and never in its way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journals import T0
from tests.process.conftest import Workplace, of_type, wait_until
from tests.timed import timed
from tfgpu_tui.core.events import Fault, RunEnded, RunStarted
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import finding_command, launch
from tfgpu_tui.supervisor.finding_command import STANDS_S, FindingCommands
from tfgpu_tui.supervisor.record import Recorder

FINDING = Finding("input.bound", "critical", "61 % waits", "do this", {"share": 0.61}, ["a line"], share=0.61)
TOLD = """\
import json, os, sys
told = json.load(sys.stdin)
told["variables"] = {k: v for k, v in os.environ.items() if k.startswith("TFGPU_TUI_")}
told["session"] = os.getsid(0)
with open("told.jsonl", "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


def told(place: Workplace) -> list[dict[str, object]]:
    path = place.folder / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def command(place: Workplace) -> str:
    return f"{sys.executable} {place.script(TOLD, 'tell.py')}"


Make = Callable[..., tuple[RunDir, Recorder, FindingCommands]]


@pytest.fixture
def make(place: Workplace) -> Make:
    def make(on_finding: str | None, severity: str = "warning") -> tuple[RunDir, Recorder, FindingCommands]:
        spec = launch.LaunchSpec(["t.py"], str(place.folder), sys.executable, on_finding=on_finding,
                                 on_finding_severity=severity)  # fmt: skip
        run = launch.create(spec, "headless")
        recorder = Recorder(run)
        started = RunStarted(t=T0, src="child", id=run.id, argv=["t.py"], cwd=str(place.folder), python=sys.executable)
        recorder.record(started)
        return run, recorder, FindingCommands(run, rundir.read_meta(run), recorder)

    return make


def work_off(commands: FindingCommands) -> None:
    def done() -> bool:
        commands.look()
        return not commands._waiting and not commands.pids

    wait_until(done, "the commands had ended")


def since(recorder: Recorder, seconds: float) -> float:
    return recorder.state.now - seconds


def test_once_for_each_that_stands_and_is_severe_enough(place: Workplace, make: Make, command: str) -> None:
    run, recorder, commands = make(command)
    info = Finding("run.short", "info", "t", "n")
    for _ in range(3):
        commands.tell([(FINDING, since(recorder, STANDS_S)), (info, since(recorder, 99))])
        commands.tell([(Finding("host.python", "warning", "t", "n"), since(recorder, STANDS_S - 1))])
        work_off(commands)
    (one,) = told(place)
    variables, session = one.pop("variables"), one.pop("session")
    assert one == {
        "schema": 1, "run": run.id, "argv": ["t.py"], "cwd": str(place.folder), "id": "input.bound",
        "severity": "critical", "title": "61 % waits", "evidence": {"share": 0.61}, "lines": ["a line"],
        "next": "do this", "knob": None, "incomplete": None,
    }  # fmt: skip
    assert variables == {
        "TFGPU_TUI_RUN": run.id, "TFGPU_TUI_FINDING": "input.bound", "TFGPU_TUI_STATE_DIR": str(place.state),
    }  # fmt: skip
    assert session != os.getsid(0)
    assert of_type(run, Fault) == []
    recorder.close()


def test_the_level_can_be_lower(place: Workplace, make: Make, command: str) -> None:
    _, recorder, commands = make(command, "info")
    commands.tell([(Finding("run.short", "info", "x" * 200_000, "n"), since(recorder, STANDS_S))])
    work_off(commands)
    assert [len(str(each["title"])) for each in told(place)] == [200_000], "more than a pipe holds"
    recorder.close()


def test_without_a_command_nothing_is_started(place: Workplace, make: Make) -> None:
    _, recorder, commands = make(None)
    commands.tell([(FINDING, since(recorder, STANDS_S))])
    commands.look()
    commands.tell_last()
    assert commands.pids == set()
    recorder.close()


def test_one_that_fails_or_never_ends_is_said(place: Workplace, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding_command, "LIMIT_S", 0.5)
    run, recorder, commands = make(
        "test $TFGPU_TUI_FINDING != input.bound || exit 3; echo word; sleep 1000 & sleep 1000"
    )
    commands.tell(
        [(FINDING, since(recorder, STANDS_S)), (Finding("x.y", "critical", "t", "n"), since(recorder, STANDS_S))]
    )
    work_off(commands)
    recorder.close()
    messages = [fault.message for fault in of_type(run, Fault) if isinstance(fault, Fault)]
    assert messages == [
        f"the command for input.bound ended with exit status 3; see {run.path}/on-finding.log",
        "the command for x.y was ended after 0 s",
    ]
    assert (run.path / "on-finding.log").read_text() == "word\n"


def test_a_folder_that_is_gone_is_said(place: Workplace, make: Make) -> None:
    run, recorder, commands = make("true")
    commands._meta = commands._meta._replace(cwd=str(place.folder / "gone"))
    commands.tell([(FINDING, since(recorder, STANDS_S))])
    work_off(commands)
    recorder.close()
    (fault,) = of_type(run, Fault)
    assert isinstance(fault, Fault) and "can't be started: No such file" in fault.message


def test_what_another_supervisor_told_is_not_told_again(place: Workplace, make: Make, command: str) -> None:
    run, recorder, _ = make(command)
    recorder.state.lifecycle.standing = {"input.bound": since(recorder, STANDS_S)}
    commands = FindingCommands(run, rundir.read_meta(run), recorder)
    commands.tell([(FINDING, since(recorder, STANDS_S))])
    commands.look()
    assert commands.pids == set()
    recorder.close()


@timed
def test_the_end_of_a_real_run_is_told(place: Workplace, command: str) -> None:
    script = place.script("import os\nprint(os.getsid(0), flush=True)\nraise SystemExit('no data')")
    began = time.monotonic()
    done = subprocess.run(
        place.command("--headless", "--on-finding", command, script), cwd=place.folder, env=place.env, timeout=180,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1 and time.monotonic() - began < 30
    found = {each["id"]: each for each in told(place)}
    assert "run.failed" in found, done.stderr.decode()
    assert found["run.failed"]["run"] == place.only_run().id
    assert found["run.failed"]["session"] != int(done.stdout)
    (ended,) = of_type(place.only_run(), RunEnded)
    assert isinstance(ended, RunEnded) and ended.exit_code == 1


def test_a_rerun_has_the_command_and_one_of_a_foreign_file_does_not(place: Workplace) -> None:
    from tfgpu_tui.supervisor import again

    script = place.script("pass")
    spec = launch.LaunchSpec(
        [str(script)], str(place.folder), sys.executable, on_finding="true", on_finding_severity="info"
    )
    run = launch.create(spec, "headless")
    meta = rundir.read_meta(run)
    assert launch.spec_again(meta, {}).on_finding == "true"
    own = again.start(run, {}).run
    assert rundir.read_meta(own).on_finding == "true"
    other = launch.create(spec, "headless")
    shown = again.shell_command(rundir.read_meta(other))
    foreign = again.start(other, {}, confirmed=shown).run
    assert rundir.read_meta(foreign).on_finding is None
    for each in (own, foreign):
        wait_until(lambda each=each: listing.summary(each).state == "ended", "the rerun ended")  # type: ignore[misc]


def test_levels_and_their_mistakes(place: Workplace) -> None:
    script = place.script("raise SystemExit('started')")
    bad = place.tool("--headless", "--on-finding-severity", "grave", script)
    assert (bad.returncode, bad.stderr) == (
        2, b"tfgpu-tui: --on-finding-severity: 'grave' is none of critical, warning, info\n",
    )  # fmt: skip
    config = place.folder / "config.toml"
    config.write_text('on_finding = "touch told"\non_finding_severity = "critical"\n')
    done = place.tool("--headless", "--config", config, script)
    assert done.returncode == 1
    assert (Path(place.folder) / "told").exists()
