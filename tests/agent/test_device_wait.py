"""A step whose results are read while the device still computes: that time is compute. TensorFlow's asynchronous mode
queues work on a CPU as it does on a GPU."""

from __future__ import annotations

import json
import sys

import pytest

from tests.timed import timed

from .conftest import cases_of, of_type, other_pythons, run_script

pytestmark = timed

SCRIPT = """
    import json, sys, time
    import numpy as np, tensorflow as tf
    tf.config.experimental.set_synchronous_execution(False)
    weights = [tf.Variable(tf.random.normal((700, 700)) / 26.0) for _ in range(4)]
    data = tf.data.Dataset.from_tensors(np.ones((64, 700), "float32")).repeat()

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            for w in weights:
                x = tf.tanh(x @ w)
            loss = tf.reduce_mean(x * x)
        for w, g in zip(weights, tape.gradient(loss, weights)):
            w.assign_sub(0.01 * g)
        return loss

    def check(loss):
        assert loss > -1.0

    ways = {"float": float, "numpy": lambda loss: loss.numpy(), "bool": check, "format": lambda loss: f"{loss:.3f}"}
    shares = {}
    for name, look in ways.items():
        sys.modules["_tfgpu_agent.steps.custom_steps"].settle()
        sys.modules["_tfgpu_agent.hooks.runtime"].send("case", name=name)
        read = wall = 0.0
        batches = iter(data)
        for number in range(160):
            began = time.perf_counter()
            loss = step(next(batches))
            launched = time.perf_counter()
            look(loss)
            ended = time.perf_counter()
            if number >= 40:
                read, wall = read + ended - launched, wall + ended - began
        shares[name] = read / wall
    print(json.dumps(shares))
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_reading_a_result_is_the_devices_time(python: str) -> None:
    events, process = run_script(SCRIPT, python)
    assert process.returncode == 0, process.stderr
    cases = cases_of(events)
    for way, read in json.loads(process.stdout).items():
        assert read > 0.5, f"{way}: else nothing was asynchronous"
        windows = of_type(cases[way], "steps", phase="train")[2:]
        wall = sum(e["wall_s"] for e in windows)
        compute, host = (sum(e[part] for e in windows) / wall for part in ("compute_s", "host_s"))
        assert compute > 0.8 and host < 0.15, way
