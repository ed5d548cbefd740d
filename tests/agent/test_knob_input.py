"""The knob `input` in real trainings: it changes what feeds the model in every kind of loop, and says so."""

from __future__ import annotations

import json
import sys

import pytest

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

FEEDS = """
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    made = 0
    seen = set()

    def read(x):
        global made
        made += 1
        return np.full(8, x, "float32"), np.full(1, x, "float32")

    def load(x):
        a, b = tf.numpy_function(read, [x], [tf.float32, tf.float32])
        return tf.ensure_shape(a, (8,)), tf.ensure_shape(b, (1,))

    def rows():
        global made
        while True:
            made += 1
            yield np.zeros((16, 8), "float32"), np.zeros((16, 1), "float32")

    class Rows(getattr(keras.utils, "PyDataset", keras.utils.Sequence)):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            global made
            made += 1
            return np.zeros((16, 8), "float32"), np.zeros((16, 1), "float32")

    class Count(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.batches = self.epochs = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

    def fit(name, *args, **kwargs):
        global made
        made, count = 0, Count()
        m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse")
        m.fit(*args, verbose=0, callbacks=[count], **kwargs)
        print(name, count.batches, count.epochs, made, flush=True)
        return m

    x = np.zeros((640, 8), "float32")
    ds = tf.data.Dataset.range(160).map(load).batch(8)
    m = fit("dataset", ds, epochs=2)
    fit("endless", ds.repeat(), epochs=2, steps_per_epoch=20)
    fit("generator", rows(), epochs=2, steps_per_epoch=20)
    fit("pydataset", Rows(), epochs=2)
    fit("arrays", x, x[:, :1], epochs=2)
    print("evaluate", round(m.evaluate(ds, verbose=0, return_dict=True)["loss"], 6) > 100.0)

    order = [float(a[0, 0]) for _ in range(2) for a, b in ds]
    print("eager", len(order), len(set(order)), order == sorted(order[:20]) * 2)

    @tf.function
    def loop(data):
        batches, total = 0, 0.0
        for a, b in data:
            batches, total = batches + 1, total + tf.reduce_sum(a)
        return batches, total

    batches, total = loop(ds)
    print("autograph", int(batches), float(total))

    mirrored = tf.distribute.MirroredStrategy(["/cpu:0"])
    with mirrored.scope():
        m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse")
    count = Count()
    m.fit(ds, epochs=2, verbose=0, callbacks=[count])
    print("mirrored", count.batches, count.epochs)

    counter = keras.layers.Normalization()
    counter.adapt(tf.data.Dataset.range(10).map(lambda i: tf.cast(i, tf.float32)[None]).batch(2))
    print("adapted", round(float(np.ravel(counter.mean)[0]), 3))
"""
ALL = [float(8 * sum(range(160)))]


def run(python: str, knob: str, script: str = FEEDS) -> tuple[list[Event], dict[str, list[str]]]:
    events, process = run_script(
        script, python=python, environment={"TFGPU_TUI_KNOBS": json.dumps({"input": knob})}, timeout_s=120
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    return events, {line.split()[0]: line.split()[1:] for line in process.stdout.splitlines() if line.split()}


def in_force(events: list[Event]) -> tuple[str, str]:
    told = [e for e in of_type(events, "knobs") if "input" in e["in_force"]]
    return told[-1]["in_force"]["input"], told[-1]["notes"]["input"]


@pytest.mark.parametrize("python", PYTHONS)
def test_synthetic_input_is_the_first_batch_as_often_as_there_are_batches(python: str) -> None:
    events, said = run(python, "synthetic")
    for name in ("dataset", "endless", "generator", "pydataset"):
        batches, epochs, made = map(int, said[name])
        assert (batches, epochs) == (40, 2), name
        # A dataset counts its elements, eight a batch; on a busy machine three batches were read where two are needed.
        assert made <= (4 * 8 if name in ("dataset", "endless") else 20), f"{name}: the script's own input went on"
    assert said["arrays"][:2] == ["40", "2"]
    assert said["eager"] == ["40", "1", "True"]
    assert said["autograph"] == ["20", str(float(20 * 8 * sum(range(8))))]
    assert said["mirrored"] == ["40", "2"]
    assert said["evaluate"] == ["True"], "an evaluation keeps its own data"
    assert said["adapted"] == ["4.5"], "a layer adapts itself to all of its data"
    value, note = in_force(events)
    assert value == "synthetic"
    assert "mean nothing" in note


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("knob", "note"),
    [
        pytest.param("prefetch", "autotune on", marks=pytest.mark.slow),
        pytest.param("parallel", "map runs in parallel"),
    ],
)
def test_all_data_comes_in_its_order_with_the_other_values(python: str, knob: str, note: str) -> None:
    events, said = run(python, knob)
    for name in ("dataset", "endless", "generator", "pydataset", "arrays"):
        assert said[name][:2] == ["40", "2"], name
    assert int(said["dataset"][2]) >= 320
    assert said["eager"] == ["40", "20", "True"]
    assert said["autograph"] == ["20", str(ALL[0])]
    assert said["mirrored"] == ["40", "2"]
    value, words = in_force(events)
    assert value == knob
    assert note in words


UNKNOWN_LENGTH = """
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    ds = tf.data.Dataset.range(80).map(lambda i: (tf.fill([8], tf.cast(i, tf.float32)), tf.zeros([1])))
    ds = ds.batch(8).filter(lambda a, b: True)
    counted = sum(1 for _ in ds)
    m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse")
    history = m.fit(ds, epochs=500, verbose=0)
    print("epochs", len(history.epoch), counted)
"""


def test_input_of_unknown_length_ends_all_the_same() -> None:
    events, said = run(sys.executable, "synthetic", UNKNOWN_LENGTH)
    epochs, counted = map(int, said["epochs"])
    assert epochs < 5
    assert counted == 1000
    steps = sum(e["steps"] for e in of_type(events, "steps", phase="train"))
    assert 900 <= steps <= 2000
    assert "was not known" in in_force(events)[1]
    assert of_type(events, "train_end")[-1]["stopped"] == "stop-after"


NOTHING_TO_CHANGE = """
    import tensorflow as tf

    w = tf.Variable(1.0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = w * w
        w.assign_sub(0.1 * tape.gradient(loss, w))

    for _ in range(30):
        step()
"""


@pytest.mark.parametrize("knob", ["parallel", pytest.param("synthetic", marks=pytest.mark.slow)])
def test_a_script_without_a_pipeline_keeps_its_input_and_says_so(knob: str) -> None:
    events, _ = run(sys.executable, knob, NOTHING_TO_CHANGE)
    value, note = in_force(events)
    assert value == "script"
    assert note.startswith("no tf.data")
