"""Records demo/recordings: `python -m tests.nvml.record [NAME…]` trains a demo for real while the stand-in plays GPUs.

The training is real and runs on the CPU: its steps, pipeline, host load and output are what they were. The GPUs are the
stand-in's: their load follows the training's own steps. TensorFlow's CPU build lists no GPU, so the journal is given
the list of the scenario's, and the model's layers are said to be on the first of them. The journal says
`SIMULATED GPU`, and so do the status line and the report.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nvml import scenarios
from tests.nvml.build import build
from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs.rundir import JournalReader

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "demo" / "recordings"
LARGEST_BYTES = 300_000
GPU_IS_LOST = 15
"""NVML_ERROR_GPU_IS_LOST."""
FOLLOW_S = 0.2
HEATS_IN_S = 12.0
"""How slowly the temperature follows the load."""


@dataclass(frozen=True)
class Scene:
    """What is recorded. The first of `gpus` GPUs trains; the one numbered `lost` is lost at step `lost_at`."""

    name: str
    command: tuple[str, ...]
    gpus: int = 1
    interval_s: float = 0.5
    lost: int | None = None
    lost_at: int = 0


SCENES = (
    Scene("one-gpu-input-bound", ("demo/slow_map.py", "5")),
    Scene("eight-gpus-one-used", ("demo/healthy.py", "30"), gpus=8, interval_s=1.0),
    Scene("gpu-lost-in-mid-run", ("demo/healthy.py", "30"), gpus=2, lost=1, lost_at=350),
)


def load(state: RunState) -> float:
    """Share of the last window of steps in which the model computed, 0..1; 0 while nothing trains."""
    if state.phase != "training" or not state.recent:
        return 0.0
    last = state.recent[-1]
    return min(1.0, (last.compute_s or 0.0) / last.wall_s) if last.wall_s else 0.0


def boards(scene: Scene, state: RunState, heat: float) -> list[scenarios.Gpu]:
    """The GPUs at this moment. `heat` is the load as the temperature follows it."""
    # TensorFlow takes nearly all memory of every GPU that it lists, as soon as a model is built.
    taken = state.phase in ("building", "tracing", "training", "evaluating")
    process = [{"pid": state.child_pid, "memory_mib": 132_000}] if taken else []
    out = []
    for index in range(scene.gpus):
        busy = load(state) if index == 0 else 0.0
        warmth = heat if index == 0 else 0.0
        out.append(
            scenarios.gpu(
                index,
                busy_percent=round(100 * busy),
                memory_busy_percent=round(40 * busy),
                memory_used_mib=132_600 if taken else 4,
                power_mw=round(76_000 + 3_000 * index + 430_000 * busy),
                temperature_c=round(33 + index % 3 + 32 * warmth),
                sm_clock_mhz=1980 if taken else 345,
                throttle_mask=0,
                sm_active_percent=round(55 * busy, 1),
                tensor_active_percent=round(12 * busy, 1),
                dram_active_percent=round(38 * busy, 1),
                pcie_rx_kb_per_s=round(2_000_000 * busy),
                pcie_tx_kb_per_s=round(90_000 * busy),
                pcie_width=16,
                ecc_corrected=0,
                processes=process,
            )
        )
    return out


def faults(scene: Scene, state: RunState) -> list[dict[str, Any]]:
    """The lost GPU, once its step has come."""
    gone = scene.lost is not None and state.train.steps >= scene.lost_at
    return [{"gpu": scene.lost, "error": GPU_IS_LOST}] if gone else []


def record(scene: Scene, work: Path, library: Path) -> Path:
    """Trains, and returns the journal as the supervisor wrote it. Raises CalledProcessError where the training
    failed."""
    scenario = work / "scenario.json"
    state, heat = RunState(), 0.0
    scenarios.play(scenario, scenarios.scenario(*boards(scene, state, heat)))
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library),
        "NVML_SIM": str(scenario),
        "TFGPU_TUI_SIMULATED": "SIMULATED GPU",
        "TFGPU_TUI_STATE_DIR": str(work / "state"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    tool = [sys.executable, "-m", "tfgpu_tui", "--headless", "--python", sys.executable]
    command = [*tool, "--interval", str(scene.interval_s), *scene.command]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as run:
        journal: Path | None = None
        reader: JournalReader | None = None
        while run.poll() is None:
            time.sleep(FOLLOW_S)
            journal = journal or next((work / "state").glob("runs/*/journal.jsonl"), None)
            if journal is None:
                continue
            reader = reader or JournalReader(journal)
            for event in reader.poll():
                state.apply(event)
            heat += (load(state) - heat) * FOLLOW_S / HEATS_IN_S
            now = scenarios.scenario(*boards(scene, state, heat), faults=faults(scene, state))
            scenarios.play(scenario, now)
        if reader is not None:
            reader.close()
    if run.returncode or journal is None:
        raise subprocess.CalledProcessError(run.returncode, command)
    return journal


def fit_for_others(scene: Scene, journal: Path) -> Iterator[str]:
    """The journal's lines with the scenario's GPUs in TensorFlow's list, and without this machine's paths and name."""
    listed = [
        {"device": f"GPU:{i}", **{key: scenarios.gpu(i)[key] for key in ("name", "uuid", "pci")}}
        for i in range(scene.gpus)
    ]
    for line in journal.read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "environment":
            if event["nvidia_devices"] is not None:
                event["nvidia_devices"] = scene.gpus
            if event["tf_gpus"] is not None:
                event["tf_gpus"] = listed
            if event["tensorflow_build"] is not None:
                event["tensorflow_build"] = "cuda"
        if event["type"] == "placement":
            event["layers"] = [on_gpu(row) for row in event["layers"]]
        yield without_paths(json.dumps(shortened(event), separators=(",", ":")))


def on_gpu(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the placement with its ops on the GPU, the input pipeline apart."""
    if row["layer"] == "(input)":
        return row
    moved = {
        key: {"GPU:0": sum(row[key].values())} if row.get(key) else row.get(key) for key in ("forward", "backward")
    }
    return {**row, **moved, "variables": ["GPU:0"] if row.get("variables") else row.get("variables")}


def shortened(value: Any) -> Any:
    """Floats of seconds and rates need no 17 digits; times of day keep their milliseconds."""
    if isinstance(value, float):
        return round(value, 3) if abs(value) > 1000 else float(f"{value:.6g}")
    if isinstance(value, list):
        return [shortened(v) for v in value]
    return {k: shortened(v) for k, v in value.items()} if isinstance(value, dict) else value


def without_paths(line: str) -> str:
    """The line with paths relative to this repository, and a host of no name."""
    for ours, told in (
        (sys.executable, "python3"),
        (sys.prefix, "/venv"),
        (f"{ROOT}/", ""),
        (str(ROOT), "."),
        (socket.gethostname(), "recorded"),
    ):
        line = line.replace(ours, told)
    return line


def main(names: list[str]) -> int:
    """Records the scenes named, or all."""
    FOLDER.mkdir(exist_ok=True)
    for scene in SCENES:
        if names and scene.name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            journal = record(scene, work, build(work / "lib"))
            target = FOLDER / f"{scene.name}.jsonl"
            target.write_text("\n".join(fit_for_others(scene, journal)) + "\n")
        size = target.stat().st_size
        print(f"{target.relative_to(ROOT)}  {size / 1000:.0f} kB")
        if size > LARGEST_BYTES:
            print(
                f"{target.name} is larger than {LARGEST_BYTES / 1000:.0f} kB: train for fewer epochs", file=sys.stderr
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
