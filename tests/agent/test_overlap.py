"""Batches that are fetched while the model works: only what no work hides is a wait."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import pytest

from tests.timed import timed

from .conftest import keras_flavour, of_type, other_pythons, run_script

pytestmark = timed

SCRIPT = """
    import json, sys, time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    worked, made = [], []

    def spend(notes, seconds):
        start = time.perf_counter()
        time.sleep(seconds)
        notes.append((start, time.perf_counter()))

    def work(*_):
        spend(worked, 0.02)
        return np.float32(0)

    def load(x):
        spend(made, 0.03)
        return x

    class Work(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        def call(self, x):
            # The work begins when the batch and the weights of the step before are there.
            z = tf.numpy_function(work, [x, self.scale], tf.float32)
            z.set_shape(())
            return x * self.scale + tf.stop_gradient(z)
        def compute_output_shape(self, shape):
            return shape

    def slow(x, y):
        z = tf.numpy_function(load, [x], tf.float32)
        z.set_shape(x.shape)
        return z, y

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    x, y = np.zeros((8, 4), "float32"), np.zeros((8, 1), "float32")
    data = tf.data.Dataset.from_tensors((x, y)).repeat(40).map(slow).with_options(options)
    m = keras.Sequential([keras.Input((4,)), Work(), keras.layers.Dense(1)])
    m.compile("sgd", "mse", jit_compile=False, steps_per_execution=5)
    m.fit(data, verbose=0)
    print("NOTES", json.dumps([worked, made]))
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_wait_that_work_hides_is_no_wait(python: str) -> None:
    events, process = run_script(SCRIPT, python)
    assert process.returncode == 0, process.stderr
    assert of_type(events, "hook_off") == []
    windows = of_type(events, "steps", phase="train")
    assert sum(w["steps"] for w in windows) == 40
    assert not any(w["wait_bound"] for w in windows)
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("NOTES")]
    worked, made = json.loads(line.split(maxsplit=1)[1])
    # The model can only have waited while it did not work, and only for what was not made meanwhile.
    idle = sum(begin - end for (_, end), (begin, _) in pairwise(worked))
    delay = sum(end - begin for begin, end in made)
    if keras_flavour(events) != "keras3":
        # Its loop asks for a batch when the work before it is done.
        assert not any(begin < e and b < end for b, e in made for begin, end in worked)
    hidden = sum(max(0.0, min(e, end) - max(b, begin)) for b, e in made for begin, end in worked)
    wait = sum(w["wait_s"] for w in windows)
    first = made[0][1] - made[0][0]
    assert delay - hidden - 0.001 * len(made) <= wait <= idle + first + 0.005 * 40
