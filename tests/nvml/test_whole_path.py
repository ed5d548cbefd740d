"""`tfgpu-tui --headless --report-json` on a machine whose GPUs are the stand-in's."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu
from tests.process.conftest import Workplace
from tests.process.conftest import place as place
from tests.timed import timed
from tfgpu_tui.core.events import GpuSample

SCRIPT = """
import json, os, pathlib, time
scenario = pathlib.Path(os.environ["NVML_SIM"])
machine = json.loads(scenario.read_text())
machine["gpus"][1]["processes"] = [{"pid": os.getpid(), "memory_mib": 40000}]
fresh = scenario.with_suffix(".new")
fresh.write_text(json.dumps(machine))
fresh.replace(scenario)
time.sleep(2.0)
"""


def test_the_report_has_the_gpus_of_the_machine(place: Workplace, machine: Machine) -> None:
    machine.play(gpu(), gpu(1))
    place.env |= {"NVML_SIM": str(machine.scenario), "LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]}
    done = place.tool("--headless", "--report-json", "report.json", place.script(SCRIPT))
    assert done.returncode == 0, done.stderr.decode()
    first, second = json.loads((place.folder / "report.json").read_text())["gpus"]
    assert (first["name"], first["uuid"]) == ("NVIDIA H200", gpu()["uuid"])
    assert (first["busy_mean"], second["busy_mean"]) == (87, 86)
    assert (first["memory_used_peak_mib"], second["memory_used_peak_mib"]) == (41234, 41235)
    assert first["memory_total_mib"] == 143771
    assert first["power_mean_w"] == 512.3
    assert (first["ours"], second["ours"]) == (False, True)
    assert GpuSample.type in place.only_run().journal.read_text()


@timed
@pytest.mark.parametrize("fault", [{"hang": True}, {"call": "nvmlDeviceGetName", "crash": True}], ids=["hang", "crash"])
def test_a_hostile_driver_changes_nothing_for_the_script(
    place: Workplace, machine: Machine, fault: dict[str, Any]
) -> None:
    machine.play(gpu(), faults=[fault])
    place.env |= {"NVML_SIM": str(machine.scenario), "LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]}
    began = time.monotonic()
    done = place.tool("--headless", place.script("import time; time.sleep(1.0); print('done'); raise SystemExit(3)"))
    assert (done.returncode, done.stdout) == (3, b"done\n")
    assert time.monotonic() - began < 5.0, "quitting did not wait for the driver"
