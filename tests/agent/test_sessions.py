"""Training steps of `tf.compat.v1` sessions."""

from __future__ import annotations

import sys

import pytest

from tests.timed import timed

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]
HEAD = """
    import time
    import numpy as np
    import tensorflow.compat.v1 as tf
    tf.disable_v2_behavior()
    paused = [0.0]

    def load():
        start = time.perf_counter()
        time.sleep(0.005)
        paused[0] += time.perf_counter() - start
        return np.ones((32, 8), "f"), np.ones((32, 1), "f")

    def trained(x, y):
        loss = tf.reduce_mean((x @ tf.get_variable("w", [8, 1]) - y) ** 2)
        return tf.train.GradientDescentOptimizer(0.01).minimize(loss), loss
"""
FED = (
    HEAD
    + """
    x, y = tf.placeholder(tf.float32, [None, 8]), tf.placeholder(tf.float32, [None, 1])
    train, loss = trained(x, y)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(120):
            a, b = load()
            _, value = session.run([train, loss], {x: a, y: b})
            if number % 40 == 39:
                session.run({"loss": loss}, {x: a, y: b})
        try:
            session.run("no such thing")
        except ValueError as error:
            print("refused", type(error).__name__)
    print("PAUSED", paused[0])
"""
)
TAKES_ITS_OWN = (
    HEAD
    + """
    batches = tf.data.Dataset.from_tensors((np.ones((32, 8), "f"), np.ones((32, 1), "f"))).repeat()
    train, loss = trained(*tf.data.make_one_shot_iterator(batches).get_next())
    with tf.train.MonitoredSession() as session:
        for number in range(60):
            session.run(train)
"""
)


def run(script: str, python: str) -> tuple[list[Event], str]:
    events, process = run_script(script, python=python)
    assert process.returncode == 0, process.stderr[-2000:]
    assert of_type(events, "hook_off") == []
    return of_type(events, "steps", phase="train"), process.stdout


@timed
@pytest.mark.parametrize("python", PYTHONS)
def test_runs_that_apply_gradients_are_steps_and_what_lies_between_is_the_hosts(python: str) -> None:
    windows, said = run(FED, python)
    assert sum(w["steps"] for w in windows) == 120
    assert sum(w["wait_s"] for w in windows) == 0.0
    paused = float(said.rpartition("PAUSED ")[2])
    # The pause before the first step belongs to none.
    assert 0.8 * paused < sum(w["host_s"] for w in windows) < 1.3 * paused + 0.2
    assert "refused ValueError" in said


@pytest.mark.parametrize("python", PYTHONS)
def test_the_wait_of_a_graph_that_takes_its_own_batches_is_unknown(python: str) -> None:
    windows, _ = run(TAKES_ITS_OWN, python)
    assert sum(w["steps"] for w in windows) == 60
    assert all(w["wait_s"] is None and "takes its own batches" in w["wait_bound"] for w in windows)


KERAS = """
    import numpy as np
    import tensorflow as tf
    tf.compat.v1.disable_eager_execution()
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    if keras.__version__.startswith("3"):
        print("KERAS 3")
    else:
        m = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse")
        m.fit(np.zeros((64, 8)), np.zeros((64, 1)), verbose=0)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_fit_without_eager_execution_is_said_to_be_unknown(python: str) -> None:
    """Keras 3 has no such loop: fit refuses a graph's tensors there."""
    events, process = run_script(KERAS, python=python)
    assert process.returncode == 0, process.stderr[-2000:]
    expected = [] if "KERAS 3" in process.stdout else ["keras_v1_loop"]
    assert [e["hook"] for e in of_type(events, "hook_off")] == expected
