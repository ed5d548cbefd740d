"""A step whose results are read while the device still computes: that time is compute. TensorFlow's asynchronous mode
queues work on a CPU as it does on a GPU."""

from __future__ import annotations

import sys

import pytest

from tests.timed import timed

from .conftest import Event, of_type, other_pythons, run_script

pytestmark = timed

OWN_LOOP = """
    import time
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

    read = wall = 0.0
    batches = iter(data)
    for number in range(200):
        began = time.perf_counter()
        loss = step(next(batches))
        launched = time.perf_counter()
        READ
        ended = time.perf_counter()
        if number >= 40:
            read, wall = read + ended - launched, wall + ended - began
    print(read / wall)
"""
WAYS = {"float": "float(loss)", "numpy": "loss.numpy()", "bool": "assert loss > -1.0", "format": "f'{loss:.3f}'"}


def shares(events: list[Event]) -> tuple[float, float]:
    """Compute and host as shares of the step time, after the first windows."""
    windows = of_type(events, "steps", phase="train")[2:]
    wall = sum(e["wall_s"] for e in windows)
    return sum(e["compute_s"] for e in windows) / wall, sum(e["host_s"] for e in windows) / wall


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
@pytest.mark.parametrize("way", WAYS)
def test_reading_a_result_is_the_devices_time(way: str, python: str) -> None:
    events, process = run_script(OWN_LOOP.replace("READ", WAYS[way]), python)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout) > 0.5, "else nothing was asynchronous"
    compute, host = shares(events)
    assert compute > 0.8 and host < 0.15
