"""Where an exception came from, where TensorFlow raises it far from there."""

from __future__ import annotations

import sys

import pytest

from .conftest import of_type, other_pythons, run_script

IN_A_FUNCTION = """
    import tensorflow as tf

    def loss(x):
        return tf.matmul(x, tf.ones((3, 3)))  # here

    @tf.function
    def step(x):
        if tf.reduce_sum(x) > 0:  # rewritten by AutoGraph
            y = loss(x)
        else:
            y = x
        return y

    step(tf.ones((4, 2)))
"""
IN_A_GRAPH = """
    import tensorflow as tf

    @tf.function
    def step(x, i):
        return tf.gather(x, i)  # here

    for i in range(10):
        step(tf.ones((2, 4)), tf.constant(i))
"""
IN_THE_PIPELINE = """
    import numpy as np
    import tensorflow as tf

    def load(i):
        raise ValueError("file 37 is broken")  # here

    data = tf.data.Dataset.range(1).map(lambda i: tf.numpy_function(load, [i], tf.float32))
    for x in data:
        pass
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
@pytest.mark.parametrize(
    ("script", "function"), [(IN_A_FUNCTION, "loss"), (IN_A_GRAPH, "step"), (IN_THE_PIPELINE, "load")]
)
def test_the_scripts_own_line_is_told(script: str, function: str, python: str) -> None:
    events, process = run_script(script, python)
    assert process.returncode == 1
    (error,) = of_type(events, "script_error", main=True)
    line = next(number for number, text in enumerate(script.splitlines(), start=1) if "# here" in text)
    assert (error["file"].rsplit("/", 1)[-1], error["line"], error["function"]) == ("train.py", line, function)
