"""What a script computes with the agent in its process is what it computes without: bit for bit."""

from __future__ import annotations

import sys

import pytest

from .conftest import Event, of_type, other_pythons, run_script, takes_batches_outside

SCRIPT = """
    import hashlib, logging, os, struct, sys, tempfile
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    keras.utils.set_random_seed(7)
    if os.environ.get("DETERMINISM"):
        tf.config.experimental.enable_op_determinism()
    traced = []

    def show(name, value):
        array = np.asarray(value)
        print(name, array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = keras.layers.Dense(16, activation="relu")
            self.drop = keras.layers.Dropout(0.3)
            self.two = keras.layers.Dense(1)

        def call(self, x, training=False):
            traced.append("call")
            return self.two(self.drop(self.one(x), training=training))

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(330, 8)).astype("float32"), rng.normal(size=(330, 1)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(100, seed=1).batch(32)  # the last batch is smaller

    for options in ({}, {"steps_per_execution": 4}, {"jit_compile": True}, {"run_eagerly": True}):
        m = Net()
        m.compile("adam", "mse", metrics=["mae"], **{"jit_compile": False, **options})
        history = m.fit(data, epochs=2, validation_data=data, verbose=0).history
        for name in sorted(history):
            show(name, history[name])
        for weight in m.get_weights():
            show("weight", weight)
        print(options, "traced", len(traced))
    m = Net()
    m.compile("sgd", "mse", jit_compile=False)
    show("train_on_batch", [m.train_on_batch(x[:32], y[:32]) for _ in range(3)])
    show("predict", m.predict(x, verbose=0))

    folder = tempfile.mkdtemp()
    logging.disable(logging.CRITICAL)
    keep = sys.stdout
    sys.stdout = open(os.devnull, "w")  # export tells the folder's name
    m.export(folder)
    sys.stdout = keep
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(open(folder + "/saved_model.pb", "rb").read())
    for graph in saved.meta_graphs:
        nodes = [n.op for n in graph.graph_def.node]
        nodes += [n.op for f in graph.graph_def.library.function for n in f.node_def]
        print("ops", sorted((op, nodes.count(op)) for op in set(nodes)))
        print("signatures", sorted(graph.signature_def))
    loaded = tf.saved_model.load(folder).signatures["serving_default"]
    print("inputs", loaded.structured_input_signature)
    for name, value in loaded(tf.constant(x)).items():
        show(name, value)

    v = tf.Variable(rng.normal(size=(8, 1)).astype("float32"))
    losses = []

    @tf.function
    def step(a, b):
        traced.append("step")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((a @ v - b + tf.random.normal(tf.shape(b))) ** 2)
        v.assign_sub(0.01 * tape.gradient(loss, v))
        return loss

    @tf.function
    def epoch(dataset):
        total = tf.constant(0.0)
        for a, b in dataset:
            total += step(a, b)
        return total

    @tf.function
    def many(iterator):
        total = tf.constant(0.0)
        for _ in tf.range(5):
            total += step(*next(iterator))
        return total

    for _ in range(2):
        losses += [step(a, b) for a, b in data]
    losses += [epoch(data), many(iter(data.repeat()))]
    show("losses", losses)
    show("variable", v)
    print("traces", traced.count("step"), step.experimental_get_tracing_count())
    # An error that ends the script, from inside of TensorFlow.
    for a, b in data.map(lambda a, b: (tf.ensure_shape(a, (None, 9)), b)):
        step(a, b)
"""


def compare(python: str, **environment: str) -> list[Event]:
    """Runs the script without and with the agent; returns the agent's events."""
    _, plain = run_script(SCRIPT, python, agent=False, environment=environment)
    events, process = run_script(SCRIPT, python, environment=environment)
    assert "traces" in plain.stdout, plain.stderr
    assert process.stdout.splitlines() == plain.stdout.splitlines(), process.stderr
    assert process.returncode == plain.returncode == 1
    assert process.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert of_type(events, "hook_off") == []
    assert {w["loop"] for w in of_type(events, "steps", phase="train")} == {"fit", "train_on_batch", "custom"}
    return events


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_scripts_results_are_unchanged(python: str) -> None:
    events = compare(python)
    assert all(w["wait_s"] is not None for w in of_type(events, "steps", phase="train"))


def test_where_tensorflow_forbids_clocks_in_graphs_the_wait_is_unknown() -> None:
    """`enable_op_determinism()` makes a clock in a graph an error: there must be none. Keras 3.16's first fit, of two
    epochs of 11 steps, needs none; the next one's graph takes its batches itself."""
    events = compare(sys.executable, DETERMINISM="1")
    windows = of_type(events, "steps", phase="train", loop="fit")
    known = 22 if takes_batches_outside(events) else 0
    assert all(w["wait_s"] is not None for w in windows if w["first_step"] <= known)
    later = [w for w in windows[1:] if w["first_step"] > known]
    assert later and all(w["wait_s"] is None and "determinism" in w["wait_bound"] for w in later)
