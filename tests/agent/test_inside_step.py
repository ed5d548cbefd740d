"""What is inside a step's graph: Python loops that tracing unrolled, Python functions, who set the dtype policy."""

from __future__ import annotations

import sys

import pytest

from .conftest import of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

LOOPS = """
    import tensorflow as tf
    from _tfgpu_agent.looks import unrolled
    unrolled.MIN_S = 0.0

    weight = tf.Variable(tf.eye(4))
    many = [tf.Variable(tf.eye(4)) for _ in range(400)]

    @tf.function(autograph=AUTOGRAPH)
    def over_time(x):
        for _ in range(300):
            x = tf.matmul(x, weight)
            x = tf.nn.tanh(x)
            x = x + 1.0 - tf.reduce_mean(x)
        return x

    @tf.function(autograph=AUTOGRAPH)
    def without_weights(x):
        for _ in range(400):
            x = tf.nn.tanh(x)
            x = x + 1.0 - tf.reduce_mean(x)
        return x

    @tf.function(autograph=AUTOGRAPH)
    def over_layers(x):
        for one in many:
            x = tf.matmul(x, one)
            x = tf.nn.tanh(x)
            x = x + 1.0 - tf.reduce_mean(x)
        return x

    for function in (over_time, without_weights, over_layers):
        function(tf.ones([4, 4]))
"""


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("autograph", [True, False])
def test_a_loop_is_told_whose_turns_are_copies(python: str, autograph: bool) -> None:
    events, process = run_script(LOOPS.replace("AUTOGRAPH", str(autograph)), python=python)
    assert process.returncode == 0, process.stderr
    told = of_type(events, "unrolled_loop")
    assert [event["function"] for event in told] == ["over_time", "without_weights"], "and not the loop over layers"
    assert [event["copies"] for event in told] == [pytest.approx(300, rel=0.1), pytest.approx(400, rel=0.1)]
    assert [event["text"] for event in told] == ["for _ in range(300):", "for _ in range(400):"]
    assert not of_type(events, "hook_off")


PYTHON_INSIDE = """
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    def score(y, guess):
        return np.float32(((guess > 0) == (y > 0)).mean())

    def metric(y, guess):
        def inner(a):
            return np.float32(a.sum())
        found = tf.numpy_function(score, [y, guess], tf.float32) + tf.numpy_function(inner, [y], tf.float32)
        found.set_shape([])
        return found

    def loss(y, guess):
        squared = tf.py_function(lambda a, b: tf.square(a - b), [y, guess], tf.float32)
        squared.set_shape([None, 1])
        return tf.reduce_mean(squared)

    def prepared(x):
        out = tf.numpy_function(lambda v: v * np.float32(2), [x], tf.float32)
        out.set_shape([8])
        return out

    x = np.ones((320, 8), "float32")
    data = tf.data.Dataset.from_tensor_slices(x).map(prepared).map(lambda v: (v, v[:1])).batch(8)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", loss, metrics=[metric])
    model.fit(data, epochs=2, verbose=0, validation_data=data)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_python_in_the_graph_is_told_and_that_of_the_pipeline_is_not(python: str) -> None:
    events, process = run_script(PYTHON_INSIDE, python=python)
    assert process.returncode == 0, process.stderr
    last = of_type(events, "graph_python")[-1]
    named = {function["name"]: function for function in last["functions"]}
    assert sorted((name, function["kind"]) for name, function in named.items()) == [
        ("<lambda>", "py_function"),
        ("inner", "numpy_function"),
        ("score", "numpy_function"),
    ]
    assert all(function["file"].endswith("train.py") for function in named.values())
    # Training steps alone, though the validation has as many: and a loss is called forward and backward.
    assert (last["steps"], named["score"]["calls"], named["<lambda>"]["calls"]) == (80, 80, 160)
    steps = [event for event in of_type(events, "steps") if event["phase"] == "train"]
    assert {event["loop"] for event in steps} == {"fit"}, "the tape inside of a py_function is no step of its own"
    assert sum(event["steps"] for event in steps) == 80
    assert not of_type(events, "hook_off")


def test_an_exception_inside_reaches_the_script_as_without_us() -> None:
    script = """
        import tensorflow as tf

        def bad(x):
            raise ValueError("mine")

        @tf.function
        def step(x):
            return tf.numpy_function(bad, [x], tf.float32)

        try:
            step(tf.ones([2]))
        except tf.errors.InvalidArgumentError as error:
            print("caught", "_tfgpu" in str(error), "tfgpu_tui" in str(error), "ValueError: mine" in str(error))
    """
    _, process = run_script(script)
    assert "caught False False True" in process.stdout, process.stdout + process.stderr


@pytest.mark.parametrize("python", PYTHONS)
def test_who_set_the_policy_is_told(python: str) -> None:
    script = """
        import numpy as np
        try:
            import tf_keras as keras
        except ImportError:
            import keras
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((32, 8)), np.ones((32, 1)), verbose=0)
    """
    events, _ = run_script(script, python=python)
    knobs = [event for event in of_type(events, "knobs") if "precision" in event["in_force"]]
    assert knobs[-1]["in_force"]["precision"] == "mixed_bfloat16"
    assert knobs[-1]["script"]["precision"].startswith("set_global_policy(mixed_bfloat16) at ")
