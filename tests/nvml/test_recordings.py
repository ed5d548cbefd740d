"""The recordings in demo/recordings open as any run does, say that their GPUs are simulated, and show what they are
named for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.nvml.record import FOLDER, LARGEST_BYTES, SCENES
from tests.ui.test_pty import Terminal
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import report_json
from tfgpu_tui.runs import rundir
from tfgpu_tui.ui.panes import status
from tfgpu_tui.ui.view import View

NAMES = [scene.name for scene in SCENES]


def fold(name: str) -> RunState:
    state = RunState()
    with rundir.JournalReader(rundir.find(str(FOLDER / f"{name}.jsonl")).journal) as reader:
        for event in reader:
            state.apply(event)
        assert reader.skipped == 0
    return state


@pytest.mark.parametrize("name", NAMES)
def test_it_says_that_its_gpus_are_simulated(name: str) -> None:
    state = fold(name)
    assert "SIMULATED GPU" in report_json.text(report_json.build(state))
    for columns in (80, 160):
        shown = "".join(text for text, _ in status.row(View(state=state, now=state.now), columns))
        assert "SIMULATED GPU" in shown


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_names_no_machine(name: str) -> None:
    text = (FOLDER / f"{name}.jsonl").read_text()
    assert len(text) < LARGEST_BYTES
    assert not re.findall(r'"/(?:home|root|tmp|work|Users)/[^"]*"', text)


def test_one_gpu_waits_for_input() -> None:
    built = report_json.build(fold("one-gpu-input-bound"))
    assert [finding["id"] for finding in built["findings"]][:1] == ["input.bound"]
    assert built["gpus"][0]["busy_mean"] < 40


def test_one_of_eight_gpus_works() -> None:
    busy = [gpu["busy_mean"] for gpu in report_json.build(fold("eight-gpus-one-used"))["gpus"]]
    assert busy[0] > 20 and busy[1:] == [0] * 7


def test_a_gpu_is_lost_and_the_training_goes_on() -> None:
    state = fold("gpu-lost-in-mid-run")
    well, lost = sorted(state.gpus.values(), key=lambda view: view.index)
    assert "lost" in str(lost.latest["error"]) and well.latest["error"] is None
    assert state.ended is not None and state.ended.exit_code == 0


def test_replay_opens_it_on_a_terminal(tmp_path: Path) -> None:
    program = "import sys; from tfgpu_tui.cli.command_line import main; sys.exit(main(['replay', sys.argv[1]]))"
    run = rundir.RunDir(FOLDER / f"{NAMES[0]}.jsonl")
    terminal = Terminal(run, {"TFGPU_TUI_STATE_DIR": str(tmp_path)}, program=program)
    try:
        terminal.read_until("SIMULATED GPU")
        os.write(terminal.master, b"q")
        assert terminal.exit_code() == 0
    finally:
        terminal.close()
