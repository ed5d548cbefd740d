"""Verdicts that weigh how busy the GPU is, on real trainings: the model runs on the CPU, the board is a stand-in."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu
from tests.process.conftest import Workplace
from tests.process.conftest import place as place

SCRIPT = """
import json, os, pathlib, sys, time
scenario = pathlib.Path(os.environ["NVML_SIM"])
machine = json.loads(scenario.read_text())
machine["gpus"][0]["processes"] = [{"pid": os.getpid(), "memory_mib": 40000}]
fresh = scenario.with_suffix(".new")
fresh.write_text(json.dumps(machine))
fresh.replace(scenario)
import numpy as np
import tensorflow as tf
import keras
x, y = np.zeros((8, 8), "float32"), np.zeros((8, 1), "float32")
data = tf.data.Dataset.from_tensors((x, y)).repeat()
"""

WAITS = (
    SCRIPT
    + """
def load(value):
    time.sleep(0.02)
    return value
def slow(a, b):
    c = tf.numpy_function(load, [a], tf.float32)
    c.set_shape(a.shape)
    return c, b
m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
m.compile("sgd", "mse")
m.fit(data.map(slow), steps_per_epoch=400, verbose=0)
"""
)


SLOWED = {"sm_clock_mhz": 1200, "throttle_mask": 0x40, "pcie_width": 8, "pcie_rx_kb_per_s": 1000}
"""Of 1980 MHz, by heat; and of 16 lanes, over which hardly anything goes."""


def findings(place: Workplace, machine: Machine, script: str, busy: int) -> dict[str, Any]:
    machine.play({**gpu(), **SLOWED, "busy_percent": busy})
    place.env |= {"NVML_SIM": str(machine.scenario), "LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]}
    done = place.tool("--headless", "--report-json", "report.json", place.script(script))
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads((place.folder / "report.json").read_text())
    assert report["gpus"][0]["ours"] and report["gpus"][0]["busy_mean"] == busy
    assert report["training"]["judged_steps"] >= 20
    return {f["id"]: f for f in report["findings"]}


@pytest.mark.parametrize(("busy", "expected"), [(96, "input.hidden"), (30, "input.bound")])
def test_a_wait_is_hidden_where_the_gpu_is_busy(place: Workplace, machine: Machine, busy: int, expected: str) -> None:
    found = findings(place, machine, WAITS, busy)
    assert {"input.hidden", "input.bound"} & set(found) == {expected}
    assert found[expected]["evidence"]["input_wait"] > 0.5
    assert found[expected]["severity"] == ("info" if busy > 90 else "critical")
    # A board that is slowed is named while it works; one that idles lowers clock and link by itself.
    slowed = {"gpu.throttled", "gpu.link_degraded"}
    assert slowed & set(found) == (slowed if busy > 90 else set())
