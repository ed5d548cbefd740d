"""Files on a file system that is slow: a real one, mounted by FUSE; and the same files on a disk of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.timed import timed

from .test_demos import ROOT, finding, has_stage_times, weighty

pytestmark = timed

FILES, FILE_BYTES = 40, 20_000
TRAIN = """
import sys
import keras, tensorflow as tf
names = [f"{sys.argv[1]}/{i:02}.rows" for i in range(FILES)]
def load(name):
    return tf.cast(tf.io.decode_raw(tf.io.read_file(name), tf.uint8)[:16], tf.float32) / 255.0, 1.0
def once(rows):
    kept = rows.cache()
    for batch in kept:
        pass
    return kept
rows = tf.data.Dataset.from_tensor_slices(names).repeat(20).map(load).batch(4)
options = tf.data.Options()
options.experimental_optimization.map_parallelization = False
model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(512), keras.layers.Dense(1)])
model.compile("sgd", "mse", jit_compile=False)
model.fit(PREPARED(rows.with_options(options).prefetch(2)), epochs=2, verbose=0)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"{i:02}.rows").write_bytes(bytes(FILE_BYTES))
    return folder


@pytest.fixture
def slow(files: Path, tmp_path: Path) -> Iterator[Path]:
    """The same files, each read 5 ms later."""
    point = tmp_path / "slow"
    point.mkdir()
    command = [sys.executable, "-m", "tests.e2e.slow_files", str(point), str(files), "0.005"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        if server.stdout.readline() != b"mounted\n":
            pytest.skip("mounting needs rights that this user has not")
        try:
            yield point
        finally:
            subprocess.run(["umount", "--lazy", str(point)], check=True)


def report(tmp_path: Path, folder: Path, prepared: str) -> dict[str, Any]:
    script, out = tmp_path / "train.py", tmp_path / "r.json"
    script.write_text(TRAIN.replace("FILES", str(FILES)).replace("PREPARED", prepared))
    tool = [sys.executable, "-m", "tfgpu_tui", "--python", sys.executable, "--headless", "--report-json", str(out)]
    state = {"TFGPU_TUI_STATE_DIR": str(tmp_path / "state"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*tool, str(script), str(folder)]
    subprocess.run(command, env={**os.environ, **state}, timeout=240, check=True, cwd=ROOT, capture_output=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_fuse_file_system_is_named_with_its_folder(slow: Path, tmp_path: Path) -> None:
    found = report(tmp_path, slow, "")
    if not has_stage_times(found):
        pytest.skip("without stage times no stage is called slow")
    assert weighty(found) == ["input.bound", "input.storage"], found["findings"]
    cause = finding(found, "input.storage")
    assert cause["title"].startswith("The pipeline waits for a FUSE file system (slow): load (train.py:")
    (folder,) = cause["evidence"]["folders"]
    assert folder["folder"] == folder["mount"] == str(slow)
    assert folder["file_system"] == "fuse.slow"
    assert str(slow) in cause["lines"][0] and str(slow) in cause["next"]


@pytest.mark.slow
def test_the_same_files_read_once_are_no_finding(slow: Path, tmp_path: Path) -> None:
    # On a busy machine steps as short as these wait for a core now and then, but not for files.
    assert "input.storage" not in weighty(report(tmp_path, slow, "once"))
