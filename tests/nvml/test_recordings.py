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

LATER = ("power_limit_default_w", "pcie_generation_gpu_max")
"""Fields that NVML was not asked for yet when these were recorded."""


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


REAL = ("h200-input-bound", "h200-healthy", "h200-xla-refused", "h200-time-by-layer")


@pytest.mark.parametrize("name", REAL)
def test_a_real_gpu_is_no_simulated_one(name: str) -> None:
    state = fold(name)
    assert "SIMULATED" not in report_json.text(report_json.build(state))
    text = (FOLDER / f"{name}.jsonl").read_text()
    assert len(text) < LARGEST_BYTES
    assert not re.findall(r'"/(?:home|root|tmp|work|Users|opt)/[^"]*"', text)
    (gpu,) = report_json.build(state)["gpus"]
    assert (gpu["name"], gpu["memory_total_mib"], gpu["memory_reserved_mib"]) == ("NVIDIA H200", 143771.0, 615.1)
    assert gpu["ours"] and not gpu["unknown"].keys() - {"busy_training_mean", *LATER}
    if state.train.steps:
        (listed,) = report_json.build(state)["environment"]["gpus"]
        assert gpu["tf_devices"] == ["GPU:0"]
        assert listed["nvml_index"] == 0 and listed["doubt"] is None and len(listed["proofs"]) == 2


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("h200-input-bound", ["input.bound", "input.slow_stage", "memory.preallocated"]),
        ("h200-healthy", ["memory.preallocated"]),
        ("h200-xla-refused", ["xla.unsupported_op", "memory.foreign"]),
        ("h200-time-by-layer", []),
    ],
)
def test_what_a_real_gpu_was_told(name: str, first: list[str]) -> None:
    assert [finding["id"] for finding in report_json.build(fold(name))["findings"]] == first


def test_the_time_of_each_layer_on_a_real_gpu() -> None:
    report = report_json.build(fold("h200-time-by-layer"))
    times = {row["layer"]: row["ms"] for row in report["placement"]}
    assert times["conv3"] == pytest.approx(0.94, abs=0.01) and times["norm3"] > times["conv3"] > 10 * times["head"]
    known = sum(ms for ms in times.values() if ms)
    on_gpu = report["placement_basis"]["profiled_ms"]["GPU:0"]
    assert known < on_gpu < report["training"]["step_ms"]["mean"], "the GPU's work fits into the step"


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
