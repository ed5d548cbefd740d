"""An allocator's dump in the output of a real run becomes a finding, also where the process dies within it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Workplace, of_type, wait_for_state, wait_until
from tfgpu_tui.core.events import OutOfMemory

DUMP = (Path(__file__).parents[1] / "unit" / "oom_2_21.txt").read_bytes()


def test_a_dump_in_the_terminal_is_told_and_the_output_stays(place: Workplace) -> None:
    script = f"import os, signal\nos.write(2, {DUMP!r})\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    run = place.start(place.script(script))
    wait_for_state(run, "ended")
    (failed,) = of_type(run, OutOfMemory)
    assert isinstance(failed, OutOfMemory)
    assert (failed.case, failed.wanted_bytes, failed.shape) == ("no_room", 16_384_000_000, [2048, 2_000_000])
    assert run.output_log.read_bytes().startswith(DUMP.replace(b"\n", b"\r\n"))
    wait_until(run.report_path.exists, "the report is written")
    report = json.loads(run.report_path.read_text())
    assert report["memory"]["out_of_memory"]["wanted_mib"] == 15625.0
    assert {"memory.oom", "run.killed"} <= {f["id"] for f in report["findings"]}


REAL = """
import resource
import keras, numpy as np
inputs = keras.Input((16,))
wide = keras.layers.Dense(2_000_000, name="huge")(keras.layers.Dense(64)(inputs))
model = keras.Model(inputs, keras.layers.Lambda(lambda t: t[:, :1])(wide))
model.compile("sgd", "mse")
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
model.fit(np.zeros((4096, 16), "f"), np.zeros((4096, 1), "f"), batch_size=2048, verbose=0)
"""


@pytest.mark.slow
def test_tensorflows_own_dump_on_a_machine_without_a_gpu(place: Workplace) -> None:
    pytest.importorskip("tensorflow")
    with (place.folder / "stderr.log").open("wb") as log:
        command = place.command("--headless", "--report-json", "r.json", "--python", sys.executable)
        subprocess.run(
            [*command, place.script(REAL)], cwd=place.folder, env=place.env, stderr=log, timeout=240, check=False
        )
    report = json.loads((place.folder / "r.json").read_text())
    failed = next(f for f in report["findings"] if f["id"] == "memory.oom")
    assert failed["evidence"]["wanted_mib"] == 15625.0
    assert "huge" in failed["evidence"]["op"]
    # The plain allocator of some processors writes no dump: then it is said that its numbers are not known.
    assert (failed["evidence"]["case"] is None) == (failed["incomplete"] is not None)
