"""The input pipeline's stages, their times and the user's functions in them, from real training runs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tfgpu_tui.agent.input import pipeline_model
from tfgpu_tui.agent.input.pipeline_walk import Stage

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]
Ran = tuple[list[Event], "subprocess.CompletedProcess[str]"]

SCRIPT = """
    import time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    def model():
        m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        m.compile("sgd", "mse")
        return m

    def case(name):
        print("CASE", name, time.time(), flush=True)

    taken = []

    def slow_load(x):
        begin = time.perf_counter()
        time.sleep(0.004)
        taken.append(time.perf_counter() - begin)
        return np.zeros(8, "float32"), np.zeros(1, "float32")

    def load_image(x):
        a, b = tf.numpy_function(slow_load, [x], [tf.float32, tf.float32])
        return tf.ensure_shape(a, (8,)), tf.ensure_shape(b, (1,))

    def double(a, b):
        return a * 2.0, b

    m = model()
    case("map")
    options = tf.data.Options()
    options.experimental_optimization.map_and_batch_fusion = False
    ds = tf.data.Dataset.range(960).shuffle(50).map(load_image)
    ds = ds.map(double, num_parallel_calls=2).batch(8).prefetch(2).with_options(options)
    m.fit(ds, verbose=0)
    print("SLEPT", 1e6 * sum(taken) / len(taken))

    case("generator")
    def read_rows():
        while True:
            time.sleep(0.005)
            yield np.zeros((16, 8), "float32"), np.zeros((16, 1), "float64")

    m.fit(read_rows(), steps_per_epoch=100, verbose=0)

    case("from_generator")
    def numbers():
        for i in range(600):
            time.sleep(0.001)
            yield np.zeros(8, "float32"), np.zeros(1, "float32")

    signature = (tf.TensorSpec((8,)), tf.TensorSpec((1,)))
    m.fit(tf.data.Dataset.from_generator(numbers, output_signature=signature).batch(4), verbose=0)

    case("pydataset")
    class Rows(getattr(keras.utils, "PyDataset", keras.utils.Sequence)):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            time.sleep(0.005)
            return np.zeros((16, 8), "float32"), np.zeros((16, 1), "float32")

    m.fit(Rows(), verbose=0)

    case("arrays")
    m.fit(np.zeros((8000, 8), "float32"), np.zeros((8000, 1), "float32"), verbose=0, validation_split=0.1)

    case("distributed")
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        m = model()
    m.fit(ds, verbose=0)
    del ds

    case("custom")
    def load_slowly(x):
        return tf.numpy_function(slow_load, [x], [tf.float32, tf.float32])

    for a, b in tf.data.Dataset.range(400).map(load_slowly).batch(8):
        pass
    case("end")
"""


@pytest.fixture(scope="module", params=PYTHONS)
def ran(request: pytest.FixtureRequest) -> Ran:
    events, process = run_script(SCRIPT, python=request.param)
    assert process.returncode == 0, process.stderr[-3000:]
    assert [e for e in of_type(events, "hook_off") if e["hook"].startswith(("pipeline", "describe"))] == []
    return events, process


def during(ran: Ran, case: str, kind: str) -> list[Event]:
    """The events of one type that were made during a case of the script."""
    events, process = ran
    marks = [line.split() for line in process.stdout.splitlines() if line.startswith("CASE ")]
    index = [mark[1] for mark in marks].index(case)
    start, end = float(marks[index][2]), float(marks[index + 1][2])
    return [e for e in of_type(events, kind) if start <= e["t"] < end]


def last(ran: Ran, case: str) -> Event:
    found = during(ran, case, "pipeline")
    assert found, f"no pipeline event for {case}"
    return found[-1]


def has_times(event: Event) -> bool:
    """TensorFlow 2.15 and 2.16 have no live model; there the shape is all that can be said."""
    if event["source"] == "graph":
        assert "2.17" in event["note"]
        assert all(stage["self_us"] is None for stage in event["stages"])
        return False
    return True


def stage(event: Event, word: str) -> dict[str, Any]:
    found = [s for s in event["stages"] if word in s["name"]]
    assert found, [s["name"] for s in event["stages"]]
    return dict(found[0])


def test_the_slow_map_is_named_by_the_users_python_function_with_its_time(ran: Ran) -> None:
    event = last(ran, "map")
    slow = stage(event, "slow_load")
    assert slow["name"] == "Map slow_load"
    assert slow["file"].endswith("train.py")
    assert SCRIPT.splitlines()[slow["line"] - 1].strip() == "def slow_load(x):"
    assert slow["python"] is True
    if has_times(event):
        slept_us = float(ran[1].stdout.partition("SLEPT ")[2].split()[0])
        assert slept_us <= slow["self_us"] < 2 * slept_us
        assert slow["per_batch_us"] == pytest.approx(8 * slow["self_us"])
        assert slow["stage"] == "Map"
        times = {s["name"]: s["per_batch_us"] for s in event["stages"] if s["per_batch_us"] is not None}
        assert max(times, key=lambda name: times[name]) == "Map slow_load"


def test_the_stages_stand_in_the_order_of_the_data_with_their_buffers(ran: Ran) -> None:
    event = last(ran, "map")
    names = [s["name"] for s in event["stages"]]
    assert names[:5] == ["Range", "Shuffle", "Map slow_load", "Map double", "Batch 8"]
    assert names[5].startswith("Prefetch")
    assert stage(event, "Shuffle")["buffer_size"] == 50
    assert stage(event, "Prefetch")["buffer_size"] == 2
    assert stage(event, "double")["python"] is False
    assert stage(event, "double")["parallelism"] == 2
    if has_times(event):
        assert 0 <= stage(event, "Shuffle")["buffered"] <= 50
        assert stage(event, "Batch")["elements"] > 10


def test_a_generator_given_to_fit_is_named_although_keras_wraps_it(ran: Ran) -> None:
    event = last(ran, "generator")
    found = stage(event, "read_rows")
    assert found["name"] == "Generator read_rows"
    assert found["python"] is True
    (user,) = [u for u in event["user"] if u["name"] == "read_rows"]
    assert user["kind"] == "generator"
    assert 5000 <= user["mean_us"] < 12000
    assert SCRIPT.splitlines()[user["line"] - 1].strip() == "def read_rows():"
    if has_times(event):
        assert 5000 <= found["self_us"] < 15000


def test_from_generator_is_named_by_the_users_function(ran: Ran) -> None:
    event = last(ran, "from_generator")
    found = stage(event, "numbers")
    assert found["name"] == "Generator numbers"
    assert [s["name"] for s in event["stages"]][:2] == ["Generator numbers", "Batch 4"]
    if has_times(event):
        assert found["per_batch_us"] == pytest.approx(4 * found["self_us"], rel=0.2)


def test_a_pydatasets_getitem_is_timed(ran: Ran) -> None:
    (user,) = last(ran, "pydataset")["user"]
    assert user["kind"] == "getitem"
    assert "Rows" in user["name"]
    assert 5000 <= user["mean_us"] < 12000
    assert stage(last(ran, "pydataset"), "Generator")["name"] == f"Generator {user['name']}"


def test_kerass_own_stages_for_arrays_are_called_kerass(ran: Ran) -> None:
    assert "(Keras)" in stage(last(ran, "arrays"), "grab_batch")["name"]


def test_a_distributed_pipeline_has_its_shape_and_says_why_no_times(ran: Ran) -> None:
    event = last(ran, "distributed")
    assert event["source"] == "graph"
    assert event["note"]
    assert stage(event, "slow_load")["self_us"] is None


def test_a_custom_loop_has_stages_too(ran: Ran) -> None:
    event = last(ran, "custom")
    found = stage(event, "slow_load")
    assert found["python"] is True
    if has_times(event):
        assert found["per_batch_us"] > 8 * 4000


@pytest.mark.parametrize(
    ("case", "kind", "batch_size", "batches", "dtypes"),
    [
        ("map", "tf.data", 8, 120, ["float32", "float32"]),
        ("generator", "generator", 16, 100, ["float32", "float64"]),
        ("from_generator", "tf.data", 4, None, ["float32", "float32"]),
        ("pydataset", "pydataset", 16, 100, ["float32", "float32"]),
        ("arrays", "arrays", 32, 225, ["float32", "float32"]),
        ("distributed", "tf.data", 8, 120, ["float32", "float32"]),
        ("custom", "tf.data", 8, 50, ["float32", "float32"]),
    ],
)
def test_the_dataset_is_described(
    ran: Ran, case: str, kind: str, batch_size: int, batches: int | None, dtypes: list[str]
) -> None:
    event = [e for e in during(ran, case, "dataset") if e["phase"] == "train"][-1]
    assert event["kind"] == kind
    assert event["batch_size"] == batch_size
    assert event["batches"] == batches
    assert [element["dtype"] for element in event["elements"]] == dtypes


def test_validation_data_is_told_apart(ran: Ran) -> None:
    (event,) = [e for e in during(ran, "arrays", "dataset") if e["phase"] == "test"]
    assert event["batches"] == 25


def test_fused_and_added_stages_are_joined_with_the_written_ones() -> None:
    written = [Stage(kind, None, False, None, None, None, False) for kind in ("Range", "Map", "Batch", "Options")]
    families = [pipeline_model.family(s.kind) for s in written]
    live = [pipeline_model.family(kind) for kind in ("Range", "MapAndBatch", "Prefetch")]
    assert pipeline_model.align(live, families) == {0: [0], 1: [1, 2]}
    assert pipeline_model.family("ParallelMapV2") == ("map",)
    assert pipeline_model.family("MemoryCache") == ("cache",)


OVER_DEVICES = """
    import time
    import numpy as np
    import tensorflow as tf
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        w = tf.Variable(tf.zeros((8, 1)))

    def rows():
        time.sleep(0.5)  # the pipeline is looked at before anything was asked of it, in each pass
        for _ in range(400):
            yield np.ones(8, "f")

    signature = tf.TensorSpec((8,))
    data = tf.data.Dataset.from_generator(rows, output_signature=signature).batch(8)

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w) ** 2)
        w.assign_sub(0.1 * tape.gradient(loss, w))

    @tf.function
    def train(x):
        strategy.run(step, (x,))

    for _ in range(2):
        for x in strategy.experimental_distribute_dataset(data):
            train(x)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_a_pipeline_over_several_devices_is_the_scripts_own_in_each_pass(python: str) -> None:
    events, process = run_script(OVER_DEVICES, python=python)
    assert process.returncode == 0, process.stderr[-2000:]
    told = of_type(events, "pipeline")[-1]
    assert [stage["function"] for stage in told["stages"] if stage["python"]] == ["rows"]
    assert told["note"] == "this pipeline is distributed over devices: TensorFlow keeps no times for that"
    passes = [[user["calls"] for user in e["user"]] for e in of_type(events, "pipeline")]
    assert passes[0] == [] and passes[1:].count([]) == 0, "a second pass told less than the first"
    assert passes.count([400]) == 2, "the end of a pass was not told"
