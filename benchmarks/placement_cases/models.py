"""Trainings on three logical CPU devices, each with the truth about its ops as two witnesses saw it.

An op callback sees which layer is being called when an op is made, and the tape's own gradient function for which op a
gradient is made. TensorFlow's placer prints on which device it puts each op. What the monitor's agent made of the same
training is read from inside it. One line `CASE {…}` of JSON a training, after the placer's lines.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import threading

import numpy as np
import tensorflow as tf

try:
    import tf_keras as keras
except ImportError:
    import keras
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop
from tensorflow.python.framework import op_callbacks

ONLY = sys.argv[1:]
L = keras.layers
K3 = keras.__version__ >= "3"
GRAPH = {"jit_compile": False} if K3 else {}
BOUNDARY = re.compile(r"[^/]*PartitionedCall[^/]*|_\d+")
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
keras.utils.set_random_seed(1)


class Witness:
    """Who made each op: op name -> {(names of the layers being called, whether a gradient made it)}."""

    def __init__(self):
        self.calls = []
        self.gradient_of = []
        self.clear()

    def clear(self):
        self.made = {}
        self.users = {}
        """(op type, id of a tensor) -> the ops of that type that take or give it."""
        self.alive = []

    def saw(self, op_type, inputs, attrs, outputs, op_name=None, graph=None):
        if graph is None:
            return
        name = op_name.decode() if isinstance(op_name, bytes) else op_name
        kind = op_type.decode() if isinstance(op_type, bytes) else op_type
        for tensor in [*inputs, *outputs]:
            self.users.setdefault((kind, id(tensor)), set()).add((graph.name, name))
            self.alive.append(tensor)
        if self.gradient_of:
            # What a gradient adds to the forward pass' own loop (accumulators) runs in the forward pass.
            forward = self.gradient_of[-1]
            for owner, _ in self.made.get(forward, {((), False)}) if forward else ():
                self.made.setdefault(name, set()).add((owner, kind != "TensorListPushBack"))
            if not forward:
                self.made.setdefault(name, set()).update({(("?",), True), (("?",), False)})
        else:
            self.made.setdefault(name, set()).add((tuple(self.calls), False))

    def called(self, call):
        def noted(layer, *args, **kwargs):
            self.calls.append(layer.name)
            try:
                return call(layer, *args, **kwargs)
            finally:
                self.calls.pop()

        return noted

    def differentiated(self, op_name, attrs, num_inputs, inputs, outputs, *rest):
        self.gradient_of.append(self._forward(op_name, [*(outputs or ()), *(inputs or ())]))
        try:
            return backprop._gradient_function(op_name, attrs, num_inputs, inputs, outputs, *rest)
        finally:
            self.gradient_of.pop()

    def _forward(self, op_name, tensors):
        """The one op of that type with these tensors (the tape drops those that the gradient does not need); empty
        where it can't be told."""
        kind = op_name.decode() if isinstance(op_name, bytes) else op_name
        known = [self.users.get((kind, id(tensor)), set()) for tensor in tensors if tensor is not None]
        ops = set.intersection(*known) if known else set()
        return next(iter(ops))[1] if len(ops) == 1 else ""

    def of(self, name):
        """The one owner of an op of the final graph, by its name behind what inlining put in front; None where no op
        of that name was seen, or several with different owners."""
        parts = name.split("/")
        starts = [0] + [i + 1 for i, part in enumerate(parts) if BOUNDARY.fullmatch(part)]
        for start in starts:
            owners = self.made.get("/".join(parts[start:]))
            if owners:
                return next(iter(owners)) if len(owners) == 1 else None
        return None


witness = Witness()
L.Layer.__call__ = witness.called(L.Layer.__call__)
pywrap_tfe.TFE_Py_RegisterGradientFunction(witness.differentiated)

placement = sys.modules["_tfgpu_agent.placement.placement"]
analysed = threading.Event()
found = {}
of_graphs, best = placement._of_graphs, placement.best


def noting_best(graphs, traced, reasons):
    result = best(graphs, traced, reasons)
    if result is not None and result.trains:
        found.update(graphs=graphs, result=result)
    return result


def noting_of_graphs(collected):
    fields = of_graphs(collected)
    if fields is not None and found:
        found.update(rows=fields["layers"], layers=collected.layers)
        analysed.set()
    return fields


placement.best, placement._of_graphs = noting_best, noting_of_graphs


def tell(case):
    """Waits for the agent's analysis and prints what it and the witness say of each node of the final graph."""
    assert analysed.wait(60), f"{case}: the agent did not analyse the graphs"
    names = {key: layer.name for key, layer in found["layers"].items()}
    owners = found["result"].owners
    graph = max(found["graphs"], key=lambda g: sum(node.name in owners for node in g.node))
    nodes = []
    for node in graph.node:
        ours, truth = owners.get(node.name), witness.of(node.name)
        stack = None if ours is None else [key if isinstance(key, str) else names[key] for key in ours[0]]
        nodes.append([node.name, node.op, node.device, stack, None if ours is None else ours[1], truth])
    rows = [{k: row[k] for k in ("layer", "forward", "backward")} for row in found["rows"]]
    # The placer prints through C's own buffer.
    ctypes.CDLL(None).fflush(None)
    print("CASE", json.dumps({"case": case, "nodes": nodes, "rows": rows}), flush=True)
    found.clear()
    analysed.clear()
    witness.clear()


class Pinned(L.Layer):
    """Another layer under a device scope inside `call`."""

    def __init__(self, device, inner, **kwargs):
        super().__init__(**kwargs)
        self.device, self.inner = device, inner

    def build(self, shape):
        self.inner.build(shape)
        self.built = True

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)

    def call(self, x):
        with tf.device(self.device):
            return self.inner(x) * 2.0


class Attention(L.Layer):
    """Self-attention under a device scope."""

    def __init__(self, device, **kwargs):
        super().__init__(**kwargs)
        self.device, self.attend, self.norm = device, L.MultiHeadAttention(2, 4), L.LayerNormalization()

    def build(self, shape):
        if K3:
            self.attend.build(shape, shape)
        self.norm.build(shape)
        self.built = True

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        with tf.device(self.device):
            return self.norm(x + self.attend(x, x))


class Loop(L.Layer):
    """A while loop and a branch, on a device of their own."""

    def __init__(self, device, **kwargs):
        super().__init__(**kwargs)
        self.device = device

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], shape[-1]), name="w")
        self.built = True

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        w = tf.convert_to_tensor(self.w)
        with tf.device(self.device):
            _, x = tf.while_loop(lambda k, v: k < 3, lambda k, v: (k + 1, tf.tanh(v @ w)), [tf.constant(0), x])
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x - 1.0)


x = np.random.randn(32, 8, 4).astype("f")
y = np.random.randn(32, 1).astype("f")


def fit(case, model, **compiled):
    op_callbacks.add_op_callback(witness.saw)
    model.compile("adam", "mse", **{**GRAPH, **compiled})
    model.fit(x, y, batch_size=16, verbose=0)
    op_callbacks.remove_op_callback(witness.saw)
    tell(case)


def device_scopes():
    i = keras.Input((8, 4))
    h = Pinned("/CPU:1", L.Dense(4, name="d1"), name="pinned_one")(L.Dense(4, name="free")(i))
    h = L.Flatten(name="flat")(Pinned("/CPU:2", L.Conv1D(4, 3, name="conv"), name="pinned_two")(h))
    return keras.Model(i, L.Dense(1, name="head")(Pinned("/GPU:3", L.Dense(4, name="d3"), name="missing")(h)))


def nested_and_shared():
    i = keras.Input((8, 4))
    shared = L.Dense(4, name="shared")
    deep = keras.Sequential([L.Dense(4, name="deep_one"), L.BatchNormalization(name="deep_norm")], name="deep")
    inner = keras.Sequential([Pinned("/CPU:1", L.Dense(4, name="in_one"), name="in_pinned"), deep], name="inner")
    h = inner(shared(shared(i)))
    h = shared(inner(h))
    return keras.Model(i, L.Dense(1, name="tail")(L.GlobalAveragePooling1D(name="pool")(h)))


def attention():
    i = keras.Input((8, 4))
    h = Attention("/CPU:2", name="second")(Attention("/CPU:1", name="first")(i))
    return keras.Model(i, L.Dense(1, name="answer")(L.GlobalAveragePooling1D(name="mean")(h)))


def recurrent():
    i = keras.Input((8, 4))
    inner = L.Bidirectional(L.LSTM(4, return_sequences=True), name="both")
    h = Pinned("/CPU:1", inner, name="pinned_both")(i)
    h = L.TimeDistributed(L.Dense(4), name="each")(h)
    return keras.Model(i, L.Dense(1, name="last")(L.RNN(L.GRUCell(4), name="cells")(h)))


def loops():
    i = keras.Input((8, 4))
    h = Loop("/CPU:2", name="loop_two")(Loop("/CPU:1", name="loop_one")(i))
    return keras.Model(i, L.Dense(1, name="end")(L.Flatten(name="flatten")(h)))


class Subclassed(keras.Model):
    """Device scopes in a model's own call, and its own train_step."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.one, self.two, self.three = (
            L.Dense(4, name="sub_one"),
            L.Dense(4, name="sub_two"),
            L.Dense(1, name="sub_out"),
        )

    def call(self, x):
        with tf.device("/CPU:1"):
            x = tf.tanh(self.one(x))
        with tf.device("/CPU:2"):
            x = self.two(x)
        return self.three(tf.reduce_mean(x, axis=1))

    def train_step(self, data):
        a, b = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(a, training=True) - b) ** 2)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(list(zip(tape.gradient(loss, weights), weights, strict=True)))
        return {"loss": loss}


def own_loop():
    model = device_scopes()
    optimizer = keras.optimizers.SGD()

    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a, training=True) - b) ** 2)
        weights = model.trainable_variables
        optimizer.apply_gradients(list(zip(tape.gradient(loss, weights), weights, strict=True)))
        return loss

    op_callbacks.add_op_callback(witness.saw)
    for a, b in tf.data.Dataset.from_tensor_slices((x, y)).batch(16):
        step(a, b)
    op_callbacks.remove_op_callback(witness.saw)
    tell("own_loop")


tf.debugging.set_log_device_placement(True)
for make in (device_scopes, nested_and_shared, attention, recurrent, loops):
    if not ONLY or make.__name__ in ONLY:
        fit(make.__name__, make())
if not ONLY or "subclassed" in ONLY:
    fit("subclassed", Subclassed())
if not ONLY or "steps_per_execution" in ONLY:
    fit("steps_per_execution", device_scopes(), steps_per_execution=2)
if not ONLY or "own_loop" in ONLY:
    own_loop()
