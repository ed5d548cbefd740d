"""Compute of a step that runs op by op, by looks at the stack, against the script's own clock."""

from __future__ import annotations

import json
import sys

import pytest

from tests.agent.conftest import of_type, other_pythons, run_script
from tests.timed import timed

pytestmark = timed

SCRIPT = """
    import json
    import sys
    import time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    x, y = tf.constant(np.random.rand(128, 128).astype("f")), tf.constant(np.random.rand(128, 1).astype("f"))
    layers = [keras.layers.Dense(600, activation="relu"), keras.layers.Dense(600), keras.layers.Dense(1)]
    model, optimizer = keras.Sequential([keras.Input((128,)), *layers]), keras.optimizers.Adam()
    spent, begin = dict.fromkeys(("forward", "backward", "optimizer"), 0.0), time.perf_counter()
    looks = sys.modules["_tfgpu_agent.looks.eager_parts"]._looks
    while sum(looks.values()) < 60 and time.perf_counter() < begin + 100:
        t = [time.perf_counter()]
        with tf.GradientTape() as tape:
            out = model(x, training=True)
            t.append(time.perf_counter())
            loss = tf.reduce_mean((out - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        t.append(time.perf_counter())
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        t.append(time.perf_counter())
        for name, before, after in zip(spent, t, t[1:]):
            spent[name] += after - before
    print(json.dumps(spent))
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_where_an_eager_step_stands(python: str) -> None:
    events, process = run_script(SCRIPT, python)
    assert process.returncode == 0, process.stderr[-2000:]
    assert not of_type(events, "hook_off")
    told = of_type(events, "layer_times")[-1]
    assert told["source"] == "looks" and "by layer it is not known" in told["note"]
    assert sum(told["parts"].values()) == pytest.approx(told["compute_ms"], rel=0.01)
    spent = json.loads(process.stdout)
    for part, seconds in spent.items():
        share = told["parts"].get(part, 0.0) / told["compute_ms"]
        assert share == pytest.approx(seconds / sum(spent.values()), abs=0.25), (part, told["parts"], spent)
