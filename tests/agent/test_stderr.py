"""What TensorFlow prints to stderr is what it prints without the agent: no question of the agent's makes it warn."""

from __future__ import annotations

import re
import sys

import pytest

from .conftest import of_type, other_pythons, run_script

SCRIPT = """
    import time
    import numpy as np, keras, tensorflow as tf

    class Slow(getattr(keras.utils, "PyDataset", keras.utils.Sequence)):
        def __len__(self):
            return 60
        def __getitem__(self, i):
            time.sleep(0.02)
            return np.ones((8, 4), "f"), np.zeros((8, 1), "f")

    def slow(workers):
        if hasattr(keras.utils, "PyDataset"):
            return Slow(workers=workers), {}
        return Slow(), {"workers": workers}

    def generate():
        for _ in range(100):
            time.sleep(0.005)
            yield np.ones((8, 4), "f"), np.zeros((8, 1), "f")

    def load(x, y):
        a = tf.numpy_function(lambda v: time.sleep(0.01) or v, [x], tf.float32)
        return tf.ensure_shape(a, x.shape), y

    shapes = tf.TensorSpec((8, 4)), tf.TensorSpec((8, 1))
    generated = tf.data.Dataset.from_generator(generate, output_signature=shapes)
    off = tf.data.Options()
    off.autotune.enabled = False
    x, y = np.ones((400, 4), "f"), np.zeros((400, 1), "f")
    arrays = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).map(load)

    m = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse")
    for workers in (1, 2):
        data, how = slow(workers)
        m.fit(data, epochs=2, verbose=0, validation_data=arrays, **how)
    m.fit(generated, verbose=0)
    m.fit(arrays.with_options(off), epochs=2, verbose=0)
    m.fit(x, y, epochs=2, verbose=0)
    m.predict(x, verbose=0)
    for a, b in arrays.with_options(off):
        m.train_on_batch(a, b)
"""


def messages(stderr: str) -> list[str]:
    """The different messages, without their time and process."""
    return sorted({re.sub(r"^.*?\b[IWE]\d* .*?\.cc:\d+\] ", "", line) for line in stderr.splitlines()})


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_tensorflow_prints_what_it_prints_without_the_agent(python: str) -> None:
    # As a headless run: TensorFlow's profiler says on stderr that it begins and ends.
    environment = {"TF_CPP_MIN_LOG_LEVEL": None, "TFGPU_TUI_KNOBS": '{"profile": "off"}'}
    _, plain = run_script(SCRIPT, python, agent=False, environment=environment)
    events, watched = run_script(SCRIPT, python, environment=environment)
    assert (plain.returncode, watched.returncode) == (0, 0), plain.stderr + watched.stderr
    assert messages(watched.stderr) == messages(plain.stderr)
    assert of_type(events, "hook_off") == []
    # The agent asked all the while, where an answer was to be had.
    assert of_type(events, "pipeline", source="graph") and of_type(events, "pipeline")
