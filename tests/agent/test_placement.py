"""The placement table against independent truths: TensorFlow's own placer log, and op callbacks in the script."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from benchmarks.placement import compare

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]
Row = dict[str, Any]

HEAD = """
    import sys
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )
    keras.utils.set_random_seed(1)
    K3 = keras.__version__ >= "3"
    L = keras.layers
    x = np.random.randn(32, 8).astype("f")
    y = np.random.randn(32, 1).astype("f")

    def begin(case):
        print("CASE", case, flush=True)

    class Pinned(L.Layer):
        def __init__(self, device, units, **kwargs):
            super().__init__(**kwargs)
            self.device, self.inner = device, L.Dense(units, name=self.name + "_inner")

        def build(self, shape):
            self.inner.build(shape)
            self.built = True

        def call(self, x):
            with tf.device(self.device):
                return tf.nn.relu(self.inner(x)) * 2.0
"""

CASES = """
    tf.debugging.set_log_device_placement(True)

    begin("functional")
    i = keras.Input((8,))
    h = L.Dense(8, name="fun_a")(i)
    h = Pinned("/CPU:1", 8, name="fun_pinned")(h)
    shared = L.Dense(8, name="fun_shared")
    h = shared(shared(h))
    inner = keras.Sequential([L.Dense(8, name="fun_deep"), L.Dropout(0.5, name="fun_drop")], name="fun_nested")
    h = inner(h)
    h = Pinned("/GPU:3", 8, name="fun_missing")(h)
    m = keras.Model(i, L.Dense(1, name="fun_out")(h))
    m.compile("adam", "mse", jit_compile=False)
    m.fit(x, y, batch_size=16, verbose=0)

    begin("subclassed")
    class Sub(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = L.Dense(8, name="sub_one"), L.Dense(1, name="sub_two")

        def call(self, x):
            with tf.device("/CPU:2"):
                x = tf.tanh(self.one(x))
            return self.two(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
            return {"loss": loss}

    m = Sub()
    m.compile("sgd", jit_compile=False)
    m.fit(x, y, batch_size=16, verbose=0)

    begin("lstm")
    m = keras.Sequential([keras.Input((4, 2)), L.LSTM(4, name="rec_lstm"), L.Dense(1, name="rec_out")])
    m.compile("sgd", "mse", jit_compile=False, **(dict(steps_per_execution=2)))
    m.fit(x.reshape(32, 4, 2), y, batch_size=8, verbose=0)

    begin("loop")
    m = keras.Sequential([keras.Input((8,)), Pinned("/CPU:1", 4, name="loop_pinned"), L.Dense(1, name="loop_out")])
    optimizer = keras.optimizers.SGD()

    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((m(a, training=True) - b) ** 2)
        grads = tape.gradient(loss, m.trainable_variables)
        optimizer.apply_gradients(zip(grads, m.trainable_variables))
        return loss

    for a, b in tf.data.Dataset.from_tensor_slices((x, y)).batch(8):
        step(a, b)

    begin("mirrored")
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        m = keras.Sequential([keras.Input((8,)), L.Dense(4, name="mir_a"), L.Dense(1, name="mir_b")])
        m.compile("sgd", "mse")
    m.fit(x, y, batch_size=16, verbose=0)

    tf.debugging.set_log_device_placement(False)

    begin("jit")
    m = keras.Sequential([keras.Input((8,)), L.Dense(4, name="jit_a"), L.Dense(1, name="jit_b")])
    m.compile("sgd", "mse", jit_compile=True)
    m.fit(x, y, batch_size=16, verbose=0)

    begin("float64")
    m = keras.Sequential([keras.Input((8,)), L.Dense(4, name="wide_a", dtype="float64"), L.Dense(1, name="wide_b")])
    m.compile("sgd", "mse")
    m.fit(x, y, batch_size=16, verbose=0)

    begin("predicted")
    class Text(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_jit = False

        def call(self, x):
            bucket = tf.strings.to_hash_bucket_fast(tf.strings.as_string(x[:, 0]), 7)
            mean = tf.reduce_mean(tf.cast(x * 10.0, tf.int32), axis=1)
            return x + tf.cast(bucket, x.dtype)[:, None] + tf.cast(mean, x.dtype)[:, None]

        def compute_output_shape(self, shape):
            return shape

    layers = [Text(name="pre_text"), L.Reshape((4, 2), name="pre_shape")]
    layers += [L.LSTM(4, recurrent_dropout=0.1, return_sequences=True, name="pre_lstm"), L.GRU(4, name="pre_gru")]
    m = keras.Sequential([keras.Input((8,)), *layers, L.Dense(1, name="pre_out")], name="predicted")
    m.compile("sgd", "mse")
    m.fit(x, y, batch_size=16, verbose=0)

    begin("eager")
    m = keras.Sequential([keras.Input((8,)), Pinned("/CPU:1", 4, name="eag_pinned"), L.Dense(1, name="eag_out")])
    m.compile("sgd", "mse", run_eagerly=True)
    m.fit(x, y, batch_size=8, verbose=0)
    begin("end")
"""

Ran = tuple[list[Event], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=PYTHONS)
def ran(request: pytest.FixtureRequest) -> Ran:
    events, process = run_script(HEAD + CASES, python=request.param)
    assert process.returncode == 0, process.stderr[-3000:]
    assert [e for e in of_type(events, "hook_off") if e["hook"].startswith("placement")] == []
    return events, process


def takes_batches_outside(events: list[Event]) -> bool:
    """Keras 3.16's fit takes each batch before it calls the step, as long as steps_per_execution is 1: no op of the
    step's graph is the input's."""
    (keras,) = {event["keras"] for event in of_type(events, "environment") if event.get("keras")}
    return tuple(map(int, str(keras).split(".")[:2])) >= (3, 16)


def rows_of(events: list[Event], prefix: str) -> dict[str, Row]:
    """The last training table whose layers' names begin so; the layer's own name -> row."""
    found: dict[str, Row] = {}
    for event in of_type(events, "placement"):
        rows = {row["layer"].rpartition("/")[2]: row for row in event["layers"]}
        if any(name.startswith(prefix) for name in rows):
            found = rows
    assert found, f"no placement for {prefix}"
    return found


def placer_log(output: str, case: str, layers: list[str]) -> dict[tuple[str, bool], Counter[str]]:
    """(layer's name, backward) -> device -> ops, from what log_device_placement printed during a case."""
    part = output.partition(f"CASE {case}\n")[2].partition("CASE ")[0]
    found: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for name, op, device in re.findall(r"^(\S+): \((\w+)\): /job:\S*device:(\w+:\d+)$", part, re.M):
        # The scope may carry a number: Keras 3 opens it once for building and once for calling.
        scopes = [re.sub(r"_\d+$", "", s) for s in name.rpartition("gradient_tape/")[2].split("/")[:-1]]
        for layer in [scope for scope in scopes if scope in layers][-1:]:
            if op not in ("_Arg", "_Retval", "VarHandleOp", "Const", "NoOp", "ReadVariableOp"):
                found[layer, "gradient_tape/" in name][device] += 1
    return found


@pytest.mark.parametrize(
    ("case", "layers"),
    [
        ("functional", ["fun_a", "fun_shared", "fun_deep", "fun_drop", "fun_out"]),
        ("subclassed", ["sub_one", "sub_two"]),
        ("loop", ["loop_out"]),
        ("mirrored", ["mir_a", "mir_b"]),
    ],
)
def test_the_devices_are_those_of_the_placers_log(ran: Ran, case: str, layers: list[str]) -> None:
    events, process = ran
    rows = rows_of(events, layers[0][:4])
    log = placer_log(process.stdout, case, layers)
    for layer in layers:
        for backward in (False, True):
            truth = log[layer, backward]
            got = rows[layer]["backward" if backward else "forward"]
            assert set(got) == set(truth), f"{layer}, backward {backward}: placer {truth}, table {got}"


def test_the_table_has_the_layers_that_the_user_wrote_in_the_order_of_the_model(ran: Ran) -> None:
    rows = rows_of(ran[0], "fun_")
    named = [name for name in rows if not name.startswith("(")]
    assert named == [
        *("fun_a", "fun_pinned", "fun_pinned_inner", "fun_shared", "fun_nested", "fun_deep", "fun_drop"),
        *("fun_missing", "fun_missing_inner", "fun_out"),
    ]
    assert rows["fun_deep"]["layer"] == "fun_nested/fun_deep"
    assert rows["fun_deep"]["depth"] == 1
    assert rows["fun_a"]["depth"] == 0
    assert rows["fun_a"]["class"] == "Dense"
    assert rows["fun_pinned"]["class"] == "Pinned"
    assert rows["fun_a"]["parameters"] == 8 * 8 + 8
    assert rows["fun_a"]["variables"] == ["CPU:0"]
    assert rows["fun_a"]["dtype"] == "float32"
    assert rows["fun_a"]["xla"] is False
    assert rows["fun_a"]["asked"] is None
    assert sum(rows["fun_a"]["backward"].values()) >= 2
    for special in ("(loss)", "(optimizer)", *(() if takes_batches_outside(ran[0]) else ("(input)",))):
        assert rows[special]["forward"], special


def test_a_layer_pinned_by_the_script_says_so_and_one_that_was_moved_too(ran: Ran) -> None:
    rows = rows_of(ran[0], "fun_")
    pinned, missing = rows["fun_pinned"], rows["fun_missing"]
    assert pinned["forward"] == {"CPU:1": sum(pinned["forward"].values())}
    assert pinned["asked"] == "CPU:1"
    assert "tf.device" in pinned["reason"]
    assert missing["asked"] == "GPU:3"
    assert set(missing["forward"]) == {"CPU:0"}
    assert "GPU:3" in missing["reason"] and "CPU:0" in missing["reason"]


def test_most_ops_are_attributed(ran: Ran) -> None:
    for event in of_type(ran[0], "placement"):
        # What is left: the sums of gradients, counters of the loop, Keras' own bookkeeping.
        assert event["unattributed"] <= max(0.3 * event["ops"], 25), event


def test_a_recurrent_layer_is_one_row(ran: Ran) -> None:
    rows = rows_of(ran[0], "rec_")
    assert [name for name in rows if not name.startswith("(")] == ["rec_lstm", "rec_out"]
    assert rows["rec_lstm"]["forward"] and rows["rec_lstm"]["backward"]
    assert rows["rec_lstm"]["parameters"] == 4 * (2 * 4 + 4 * 4 + 4)


def test_a_custom_loop_has_a_table_too(ran: Ran) -> None:
    rows = rows_of(ran[0], "loop_")
    assert "CPU:1" in rows["loop_pinned"]["forward"]
    assert rows["loop_out"]["backward"]
    assert rows["(optimizer)"]["forward"]


def test_replicas_show_all_their_devices_and_are_not_called_pinned(ran: Ran) -> None:
    rows = rows_of(ran[0], "mir_")
    assert set(rows["mir_a"]["forward"]) == set(rows["mir_a"]["variables"]) == {"CPU:0", "CPU:1"}
    assert rows["mir_a"]["asked"] is None


def test_compiled_layers_say_xla(ran: Ran) -> None:
    rows = rows_of(ran[0], "jit_")
    assert rows["jit_a"]["xla"] is True
    assert set(rows["jit_a"]["forward"]) == {"CPU:0"}


def test_a_float64_layer_says_so(ran: Ran) -> None:
    rows = rows_of(ran[0], "wide_")
    assert rows["wide_a"]["dtype"] == "float64"
    assert rows["wide_b"]["dtype"] == "float32"


def test_what_would_stay_on_the_cpu_of_a_gpu_machine_is_predicted_with_its_reason(ran: Ran) -> None:
    rows = rows_of(ran[0], "pre_")
    causes = {(c["op"], c["why"], c["dtype"]) for c in rows["pre_text"]["not_on_gpu"]}
    assert ("StringToHashBucketFast", "no_gpu_kernel", None) in causes
    assert ("Mean", "dtype_no_kernel", "int32") in causes
    assert rows["pre_text"]["predicted"]["CPU"] >= 2
    assert "predicted" in rows["pre_text"]["reason"]
    assert rows["pre_out"]["predicted"]["CPU"] == 0
    assert rows["pre_out"]["reason"] is None
    event = of_type(ran[0], "placement")[-1]
    assert event["predicted"] is True
    # A CUDA build knows its own kernels; for a CPU build there is a table of them.
    assert "the CUDA build of TensorFlow" in event["kernels"] or "the registry of TensorFlow" in event["kernels"]


def test_a_recurrent_layer_says_what_rules_cudnn_out(ran: Ran) -> None:
    rows = rows_of(ran[0], "pre_")
    assert rows["pre_lstm"]["recurrent"] == {"cudnn": None, "blocked_by": ["recurrent_dropout=0.1"]}
    assert rows["pre_gru"]["recurrent"] == {"cudnn": None, "blocked_by": []}
    assert rows["pre_out"]["recurrent"] is None


def test_the_layer_that_switches_automatic_xla_off_is_named(ran: Ran) -> None:
    (model,) = of_type(ran[0], "model", name="predicted")[-1:]
    keras3 = of_type(ran[0], "environment", keras_flavour="keras3")
    assert model["jit_blockers"] == (["pre_text"] if keras3 else None)


def test_copies_between_devices_are_counted_at_the_layer_that_needs_them(ran: Ran) -> None:
    rows = rows_of(ran[0], "fun_")
    # Its kernel and bias lie on CPU:0, and are copied at every step.
    assert rows["fun_pinned_inner"]["variables"] == ["CPU:0"]
    assert rows["fun_pinned_inner"]["variable_copies"] == 2
    assert rows["fun_pinned_inner"]["copies"]["CPU:0 > CPU:1"] >= 2
    assert "copies" not in rows["fun_a"]
    assert (rows["fun_shared"]["calls"], rows["fun_a"]["calls"]) == (2, 1)


def test_an_eager_model_is_observed_for_one_step(ran: Ran) -> None:
    (event,) = of_type(ran[0], "placement", source="eager")
    rows = {row["layer"].rpartition("/")[2]: row for row in event["layers"]}
    assert set(rows["eag_pinned"]["forward"]) == {"CPU:1"}
    assert rows["eag_pinned"]["asked"] == "CPU:1"
    # Kernel and bias; Keras 2 has ops read them in C++, where nobody sees that they are variables.
    assert rows["eag_pinned_inner"]["copies"]["CPU:0 > CPU:1"] >= 2
    assert rows["eag_out"]["forward"] and rows["eag_out"]["backward"]
    assert rows["(optimizer)"]["forward"]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_table_equals_what_a_witness_and_the_placer_saw(python: str) -> None:
    """The benchmark's hardest models: an op callback, the tape and the placer's log are the truth."""
    for score in compare(python, ["nested_and_shared", "recurrent", "loops"]):
        assert score.owners > 40
        assert score.devices_right == score.devices
        assert score.owners_right >= 0.98 * score.owners, score.wrong
        assert score.layers_right == score.layers, score.wrong


def test_a_script_that_traces_graphs_itself_keeps_them() -> None:
    events, process = run_script(
        HEAD
        + """
    m = keras.Sequential([keras.Input((8,)), L.Dense(1)])
    m.compile("sgd", "mse")
    tf.summary.trace_on(graph=True)
    m.fit(x, y, verbose=0)
    from tensorflow.python.eager import context
    print("GRAPHS", len(context.context().export_run_metadata().function_graphs))
    """
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert of_type(events, "placement") == []
    assert int(process.stdout.partition("GRAPHS ")[2]) > 0


@pytest.mark.parametrize("python", PYTHONS)
def test_a_lookup_table_among_the_weights(python: str) -> None:
    """Keras 2 lists a handle of the vocabulary with the weights, which has neither a shape nor a device."""
    told, process = run_script(
        """
        import tensorflow as tf
        try:
            import tf_keras as keras
        except ImportError:
            import keras
        words = keras.layers.TextVectorization(max_tokens=16, output_sequence_length=4, name="words")
        words.adapt(tf.constant(["a b c", "b c d"]))
        text = keras.Input((1,), dtype=tf.string)
        hidden = keras.layers.Embedding(16, 4, name="embedding")(words(text))
        model = keras.Model(text, keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling1D()(hidden)))
        model.compile("sgd", "mse")
        data = tf.data.Dataset.from_tensors((tf.constant([["a b"], ["c d"]]), tf.zeros((2, 1)))).repeat(30)
        model.fit(data, verbose=0)
        """,
        python,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert of_type(told, "hook_off") == []
    rows = {row["layer"]: row for row in of_type(told, "placement")[-1]["layers"]}
    assert rows["embedding"]["parameters"] == 64
    assert not rows["words"]["parameters"]
    assert of_type(told, "model")[-1]["parameters"] == 64 + 5
