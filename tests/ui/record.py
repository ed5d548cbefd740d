"""Records demo/recordings of trainings without a GPU: `python -m tests.ui.record [NAME…]` trains each for real.

The journals are as the supervisor wrote them, less this machine's paths and name. The screen's snapshots are drawn from
them, and from those of `tests.nvml.record`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.nvml.record import FOLDER, LARGEST_BYTES, ROOT, shortened, without_paths

FAILS = '''
"""A training whose data runs into an error in the middle."""
import keras
import numpy as np

rng = np.random.default_rng(1)


def batches():
    for i in range(1000):
        if i == 220:
            raise ValueError("label 11 in labels.csv line 7041: there are 10 classes")
        yield rng.random((32, 64), np.float32), rng.integers(0, 10, 32)


model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(batches(), steps_per_epoch=100, epochs=5, verbose=2)
'''
RUNS_OUT_OF_MEMORY = '''
"""A training that is followed by a tensor for which no machine has the memory."""
import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(1)
x, y = rng.random((6400, 64), np.float32), rng.integers(0, 10, 6400)
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x, y, epochs=4, verbose=2)
similarity = tf.zeros((1_000_000, 1_000_000)) + 1.0
'''


@dataclass(frozen=True)
class Scene:
    """What is recorded: a demo with its arguments, or a script of its own under the name `script`."""

    name: str
    command: tuple[str, ...] = ()
    script: str = ""
    source: str = ""
    fails: bool = False
    setting: str = ""
    """A knob, as for --set."""


SCENES = (
    Scene("cpu-input-bound", ("demo/slow_map.py", "4")),
    Scene("cpu-input-parallel", ("demo/slow_map.py", "4"), setting="input=parallel"),
    Scene("cpu-healthy", ("demo/healthy.py", "12")),
    Scene("cpu-validation", ("demo/long_validation.py", "5")),
    Scene("script-failed", script="labels.py", source=FAILS, fails=True),
    Scene("out-of-memory", script="similarity.py", source=RUNS_OUT_OF_MEMORY, fails=True),
)


def record(scene: Scene, work: Path) -> Path:
    """Trains, and returns the journal as the supervisor wrote it. Raises CalledProcessError where the training ended
    otherwise than it should."""
    command = list(scene.command)
    if scene.source:
        (work / scene.script).write_text(scene.source.lstrip())
        command = [str(work / scene.script)]
    environment = {**os.environ, "TFGPU_TUI_STATE_DIR": str(work / "state"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    tool = [sys.executable, "-m", "tfgpu_tui", "--headless", "--python", sys.executable]
    tool += ["--set", scene.setting] if scene.setting else []
    done = subprocess.run([*tool, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    if (done.returncode != 0) != scene.fails:
        raise subprocess.CalledProcessError(done.returncode, command)
    return next((work / "state").glob("runs/*/journal.jsonl"))


def main(names: list[str]) -> int:
    """Records the scenes named, or all."""
    for scene in SCENES:
        if names and scene.name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            lines = record(scene, Path(folder)).read_text().splitlines()
            told = (json.dumps(shortened(json.loads(line)), separators=(",", ":")) for line in lines)
            text = "".join(without_paths(line.replace(folder + "/", "")) + "\n" for line in told)
        target = FOLDER / f"{scene.name}.jsonl"
        target.write_text(text)
        print(f"{target.relative_to(ROOT)}  {len(text) / 1000:.0f} kB")
        if len(text) > LARGEST_BYTES:
            print(f"larger than {LARGEST_BYTES / 1000:.0f} kB: train for less", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
