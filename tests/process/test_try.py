"""Experiments with real processes: scripts that tell steps as the agent would, and one real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Workplace, of_type, processes_with, wait_until
from tfgpu_tui.cli import watching
from tfgpu_tui.core.events import RunEnded
from tfgpu_tui.runs import configuration, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.trials import conduct, decide, groups, records, table
from tfgpu_tui.trials.records import Group, Record, words

SCRIPT = """
import json, os, resource, signal, socket, sys, time
knobs = json.loads(os.environ["TFGPU_TUI_KNOBS"])
assert os.environ["TFGPU_TUI_TRIAL"] == "1" and sys.argv[1:] == ["--epochs", "3"]
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["TFGPU_TUI_SOCKET"])

def send(kind, **fields):
    event = {"v": 1, "t": time.time(), "src": "agent", "pid": os.getpid(), "type": kind, **fields}
    link.sendall(json.dumps(event).encode() + b"\\n")

def fill_the_disk():
    # Where the state folder has none of its own, nothing that watches may write a file of some size.
    if os.environ["fills"] == "disk":
        with open(os.environ["TFGPU_TUI_STATE_DIR"] + "/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return
    monitor = os.getppid()
    experiment = int(open(f"/proc/{monitor}/stat").read().rpartition(")")[2].split()[1])
    for pid in (monitor, experiment):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))

if "writes" in os.environ:
    with open("weights.bin", "a") as file:
        file.write("1")
if "fills" in os.environ and knobs.get("run_eagerly") == "off":
    fill_the_disk()
if knobs.get("jit_compile") == "on":
    raise ValueError("no kernel for that")
if knobs.get("threads") == "1":
    time.sleep(600)
ms = 20 / (2.0 if knobs.get("input") == "parallel" else 1.0)
send("agent_connected", main=True, python="3")
if knobs.get("threads") == "2":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
for i in range(30):
    if knobs.get("threads") == "2" and i:
        time.sleep(600)
    wall = 25 * ms / 1e3
    send("steps", phase="train", steps=25, executions=25, wall_s=wall, wait_s=0.5 * wall, compute_s=0.5 * wall,
         host_s=0.0, periods={"130": 25}, examples=800, batch_size=32, epoch=2, fit=1, first_step=1 + 25 * i)
"""
TRAINING = """
import numpy as np
import keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((64, 4), "float32")
model.fit(x, x[:, :1], batch_size=8, epochs=100_000, verbose=0)
"""


def tried(place: Workplace, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Each trial takes two seconds, and many more on a busy machine."""
    return subprocess.run(
        place.command("try", "--budget", "4m", *arguments),
        stdin=subprocess.DEVNULL, capture_output=True, cwd=place.folder, env={**place.env, **env}, timeout=280,
    )  # fmt: skip


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["verdict"] for row in told["rows"]}


def test_what_helps_is_said_and_what_fails_is_a_row(place: Workplace) -> None:
    script = place.script(SCRIPT)
    wanted = ("--knobs", "input=parallel,jit_compile=on,run_eagerly=off", "--json")
    done = tried(place, *wanted, script, "--epochs", "3")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert verdicts(told) == {
        "baseline": "baseline", "input=parallel": "faster", "jit_compile=on": "failed", "run_eagerly=off": "unsure",
    }  # fmt: skip
    (failed,) = [row for row in told["rows"] if row["verdict"] == "failed"]
    assert failed["remarks"] == ["The script failed: ValueError: no kernel for that"]
    best = told["best"]
    assert best["setting"] == {"input": "parallel"} and best["times_faster"] == pytest.approx(2, rel=0.02)
    assert best["command"] == f"tfgpu-tui --set input=parallel {script} --epochs 3"
    tried_settings = [words(record["setting"]) for record in told["records"]]
    assert tried_settings == [
        "baseline", "input=parallel", "baseline", "input=parallel", "baseline", "jit_compile=on", "run_eagerly=off",
        "baseline",
    ]  # fmt: skip

    metas = [rundir.read_meta(RunDir(run.path)) for run in place.runs()]
    assert {meta.trial["group"] for meta in metas if meta.trial} == {told["id"]} and len(metas) == 8
    shown = place.tool("report", told["id"])
    assert shown.returncode == 0 and b"Keep:  tfgpu-tui --set input=parallel" in shown.stdout
    page = place.folder / "page.html"
    assert place.tool("report", told["id"], "--html", page).returncode == 0
    assert "<svg" in page.read_text() and "jit_compile=on" in page.read_text()


def test_a_script_that_writes_is_asked_about(place: Workplace) -> None:
    script = place.script(SCRIPT)
    done = tried(place, "--knobs", "run_eagerly=off", script, "--epochs", "3", writes="yes")
    assert done.returncode == 2
    assert f"  {place.folder / 'weights.bin'}\n" in done.stderr.decode()
    assert len(place.runs()) == 1, "nothing was tried"
    on = tried(place, "--yes", "--resume", "last", writes="yes")
    assert on.returncode == 1 and b"Nothing that was tried is faster beyond the noise." in on.stdout
    assert [words(record.setting) for record in groups.find("last").records] == [
        "baseline", "run_eagerly=off", "baseline",
    ]  # fmt: skip


def experiment(place: Workplace, script: str, *asked: dict[str, str], budget_s: float = 120.0) -> conduct.Experiment:
    group = Group("try-script-1", [str(place.script(script)), "--epochs", "3"], str(place.folder), sys.executable,
                  asked=list(asked), budget_s=budget_s)  # fmt: skip
    return conduct.Experiment(group, may_write=lambda files: True)


def test_a_trial_that_never_begins_is_a_row(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "LEAST_SHARE_S", 2.0)
    trials = experiment(place, SCRIPT, {"threads": "1"}, budget_s=60.0)
    monkeypatch.setattr(trials, "_share_s", lambda: 8.0 if not trials.group.records else 2.0)
    monkeypatch.setattr(trials, "_cost_s", lambda: 1.0)
    done = trials.conduct()
    assert [(row.name, row.verdict) for row in table.rows(done)] == [("baseline", "baseline"), ("threads=1", "failed")]
    assert table.rows(done)[1].remarks == ["no training step in the 2 s that it had: still starting"]
    assert done.ended in ("done", "budget")


def test_a_trial_that_hangs_and_hears_no_signal_is_a_row(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "STAGES_S", (("batch", 0.5), ("interrupt", 0.5), ("terminate", 0.5), ("kill", 20.0)))
    trials = experiment(place, SCRIPT, {"threads": "2"})
    monkeypatch.setattr(trials, "_share_s", lambda: 60.0 if not trials.group.records else 6.0)
    done = trials.conduct()
    assert [(row.name, row.verdict) for row in table.rows(done)] == [("baseline", "baseline"), ("threads=2", "failed")]
    assert done.records[1].ended == "share" and done.ended in ("done", "budget")
    hung = place.runs()[0]
    assert hung.state == "ended" and not processes_with(hung.id)


def test_a_full_disk_ends_it_with_what_is_known(place: Workplace, small_disk: Path | None) -> None:
    script = place.script(SCRIPT)
    wanted = ("--knobs", "threads=4,run_eagerly=off,jit_compile=on")
    done = tried(place, *wanted, script, "--epochs", "3", fills="limit" if small_disk is None else "disk")
    text = done.stdout.decode()
    assert done.returncode == 2 and not done.stderr.count(b"Traceback"), done.stderr
    assert "No trial follows: the experiment can't be kept in " in text and f"{place.state}/trials" in text
    assert "threads=4" in text and "failed" not in text, "what was measured before is told, and nothing else"
    assert "Not reached: " in text and "jit_compile=on" in text
    if small_disk is not None:
        (small_disk / "filler").unlink()
    on = tried(place, "--resume", "last", "--json")
    told = json.loads(on.stdout)
    assert verdicts(told)["jit_compile=on"] == "failed" and told["ended"] == "done" and told["unkept"] is None


def test_an_experiment_that_is_stopped_keeps_what_is_known(place: Workplace) -> None:
    trials = experiment(place, SCRIPT, {"run_eagerly": "off"}, {"threads": "1"})

    def stop_at_the_last() -> None:
        wait_until(lambda: len(place.runs()) == 4, "the trial that never ends has begun", 90)
        trials.stop()

    stopper = threading.Thread(target=stop_at_the_last)
    stopper.start()
    done = trials.conduct()
    stopper.join()
    assert done.ended == "stopped" and groups.find("try-script-1") == done
    assert [words(record.setting) for record in done.records] == ["baseline", "run_eagerly=off", "baseline"]
    assert table.untried(done) == [{"threads": "1"}]
    assert "Go on: tfgpu-tui try --resume try-script-1" in table.text(done)


def test_an_experiment_of_a_screen_goes_on_by_itself_until_it_is_stopped_by_its_id(place: Workplace) -> None:
    group = groups.new([str(place.script(SCRIPT)), "--epochs", "3"], str(place.folder), sys.executable,
                       asked=[{"threads": "1"}], budget_s=200.0)  # fmt: skip
    process = conduct.begin(group)

    def hangs() -> bool:
        now = groups.find(group.id).now
        return now is not None and now.setting == {"threads": "1"} and len(place.runs()) == 2

    wait_until(hangs, "the trial that never ends has begun", 100)
    assert groups.goes_on(groups.find(group.id)) and place.tool("attach", "--plain", group.id).returncode == 0
    assert place.tool("try", "--resume", group.id).returncode == 2, "it goes on"
    stopped = place.tool("stop", group.id)
    assert stopped.returncode == 0, stopped.stderr
    process.wait(100)
    found = groups.find(group.id)
    assert found.ended == "stopped" and [record.setting for record in found.records] == [{}] and found.now is None
    assert not groups.log_of(group.id).read_bytes()
    assert place.tool("stop", group.id).returncode == 2


STUBBORN = """
import signal, subprocess, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"])
open("ready", "w").close()
time.sleep(600)
"""


def test_the_trial_ends_with_its_experiment(place: Workplace) -> None:
    """Also one that hears no signal, and what it has started."""
    script = place.script(STUBBORN)
    process = subprocess.Popen(place.command("try", script), cwd=place.folder, env=place.env, stderr=subprocess.PIPE)
    wait_until(lambda: (place.folder / "ready").exists() and place.runs(), "the first trial runs")
    run = place.runs()[0].id
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: place.runs()[0].state == "ended" and not processes_with(run), "its trial has ended, too")


def test_a_trial_leaves_nothing_behind_that_the_next_one_would_be_measured_beside(place: Workplace) -> None:
    script = place.script("import subprocess\nsubprocess.Popen(['sleep', '600'])\nprint('no data here')\n")
    done = tried(place, script)
    run = place.only_run()
    assert not processes_with(run.id)
    assert run.output_log.read_text() == "no data here\n", "the report of a trial is no part of its output"
    told = done.stdout.decode()
    assert "Nothing could be tried: it ended without a training step; its output ends: no data here." in told
    assert f"tfgpu-tui replay {run.id}" in told and done.returncode == 2


def test_a_trial_that_has_just_begun_is_stopped_as_soon_as_it_listens(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "STAGES_S", (("batch", 60.0), ("kill", 20.0)))
    trials = experiment(place, "import time\ntime.sleep(600)\n")
    monkeypatch.setattr(trials, "_began", lambda group, setting, run: trials.stop())
    assert trials.conduct().ended == "stopped"
    (ended,) = of_type(place.only_run(), RunEnded)
    assert isinstance(ended, RunEnded) and ended.signal == signal.SIGINT


def test_what_waits_for_an_answer_is_asked_on_the_screen_when_it_goes_on(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = place.script(SCRIPT)
    assert tried(place, "--knobs", "run_eagerly=off", script, "--epochs", "3", writes="yes").returncode == 2
    shown: list[RunDir] = []
    monkeypatch.setattr(watching, "show", lambda run, *rest, **more: shown.extend([run]))
    group = replace(records.to_go_on(groups.find("last")), budget_s=60.0)
    watching.show_experiment(group.id, configuration.Settings(), conduct.begin(group))
    assert [run.id for run in shown] == [place.only_run().id]


@pytest.mark.slow
def test_a_real_training_is_tried(place: Workplace) -> None:
    """Eager steps are many times slower on any machine."""
    script = place.script(TRAINING)
    done = tried(place, "--steps", "4000", "--knobs", "run_eagerly=on", "--json", script)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert verdicts(told) == {"baseline": "baseline", "run_eagerly=on": "slower"}
    found: list[Record] = groups.find(told["id"]).records
    assert [words(record.setting) for record in found] == ["baseline", "run_eagerly=on", "baseline"]
    assert all(record.steps >= 20 and record.wait is not None and record.losses for record in found)
    assert decide.best(groups.find(told["id"])) is None
