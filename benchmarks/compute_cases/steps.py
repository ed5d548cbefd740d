"""Ten models, and for each what its step takes without one part of it: run by `benchmarks/compute_split.py`.

MODEL: one of MODELS. In each of ROUNDS rounds the agent looks inside some steps, and the truth is measured by ablation:
the whole step, the step without its update, the forward pass alone, the step without its update and the layer `part`,
and a call that computes nothing; in turns, the shortest call of each, since what else the machine does only adds.
Without its update a step hands its gradients to an op that prints the first none of them: TensorFlow drops what nobody
asks for, and whatever keeps them costs time. The forward pass alone is that of a training: its loops keep, for the
backward pass, what they computed (TensorFlow adds lists to a loop when it makes its gradient), and only the lists'
length is asked for. The call that computes nothing is what is no compute. Prints all rounds as JSON.
"""

import json
import os
import random
import statistics
import sys
import time

import keras
import numpy as np
import tensorflow as tf

L = keras.layers
LOOPS = ("While", "StatelessWhile")
ROUNDS, TURNS, LEAST_S = int(os.environ.get("ROUNDS", "12")), 5, 0.1
LOOK_STEPS = int(os.environ.get("LOOK_STEPS", "10"))
if "INTER_OP" in os.environ:
    tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["INTER_OP"]))


class EachAlone(L.Layer):
    def call(self, batch):
        return tf.map_fn(lambda one: tf.tanh(one) * 2.0, batch)


class InPython(L.Layer):
    def call(self, batch):
        out = tf.numpy_function(lambda a: np.sort(a, axis=-1), [tf.stop_gradient(batch)], tf.float32)
        out.set_shape(batch.shape)
        return batch + out


class Attention(L.Layer):
    def __init__(self, **named):
        super().__init__(**named)
        self.attention = L.MultiHeadAttention(4, 32)

    def call(self, batch):
        return self.attention(batch, batch)


class Identity(L.Layer):
    def call(self, batch):
        return batch


# Name -> shape of the input, batch, layers before, the layer `part`, layers after, optimizer.
MODELS = {
    "dense": ((256,), 256, [L.Dense(1024)], lambda: L.Dense(1024, name="part"), [L.Dense(512)], "sgd"),
    "dense_adam": ((256,), 64, [L.Dense(1024)], lambda: L.Activation("gelu", name="part"), [L.Dense(1024)], "adam"),
    "convolution": ((32, 32, 3), 32, [L.Conv2D(32, 3, padding="same")],
                    lambda: L.Conv2D(32, 3, padding="same", name="part"), [L.GlobalAveragePooling2D()], "sgd"),
    "batch_norm": ((32, 32, 3), 64, [L.Conv2D(32, 3, padding="same")], lambda: L.BatchNormalization(name="part"),
                   [L.GlobalAveragePooling2D()], "sgd"),
    "attention": ((64, 128), 16, [L.Dense(128)], lambda: Attention(name="part"), [L.Dense(512), L.Dense(64)], "sgd"),
    "lstm": ((32, 64), 64, [L.Dense(64)], lambda: L.LSTM(64, return_sequences=True, name="part"), [L.Dense(64)], "sgd"),
    "embedding_adam": ((20,), 128, [L.Embedding(50_000, 32)], lambda: L.Activation("tanh", name="part"),
                       [L.Flatten(), L.Dense(64)], "adam"),
    "loop_over_batch": ((512,), 32, [L.Dense(512)], lambda: EachAlone(name="part"), [L.Dense(512)], "sgd"),
    "python_in_graph": ((512,), 256, [L.Dense(512)], lambda: InPython(name="part"), [L.Dense(512)], "sgd"),
    "deep_and_thin": ((32,), 32, [L.Dense(32) for _ in range(20)], lambda: L.LayerNormalization(name="part"),
                      [L.Dense(32) for _ in range(20)], "sgd"),
}  # fmt: skip


def build(name, with_part=True):
    shape, batch, before, part, after, optimizer = MODELS[name]
    dtype = "int32" if name.startswith("embedding") else "float32"
    copies = [layer.__class__.from_config(layer.get_config()) for layer in (*before, *after)]
    middle = part() if with_part else Identity(name="part")
    layers = [*copies[: len(before)], middle, *copies[len(before) :], L.Flatten(), L.Dense(1)]
    model = keras.Sequential([keras.Input(shape, batch, dtype=dtype), *layers])
    return model, keras.optimizers.get(optimizer), batch, shape


def steps(name, with_part=True):
    """The step, the step without its update, the forward pass, and nothing: functions without arguments."""
    model, optimizer, batch, shape = build(name, with_part)
    if name.startswith("embedding"):
        x = tf.constant(np.random.randint(0, 50_000, (batch, *shape)).astype("int32"))
    else:
        x = tf.constant(np.random.randn(batch, *shape).astype("float32"))
    y = tf.constant(np.random.randn(batch, 1).astype("float32"))
    optimizer.build(model.trainable_variables)

    def loss():
        return tf.reduce_mean(tf.square(model(x, training=True) - y))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    @tf.function
    def no_update():
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, model.trainable_variables)
        values = [getattr(gradient, "values", gradient) for gradient in gradients]
        with tf.control_dependencies([tf.raw_ops.Print(input=one, data=[], first_n=0) for one in values]):
            return tf.identity(value)

    @tf.function
    def forward():
        with tf.GradientTape() as tape:
            value = loss()
        loops = [op for op in tf.compat.v1.get_default_graph().get_operations() if op.type in LOOPS]
        tape.gradient(value, model.trainable_variables)
        lists = [out for loop in loops for out in loop.outputs if out.dtype == tf.variant]
        with tf.control_dependencies([tf.raw_ops.TensorListLength(input_handle=kept) for kept in lists]):
            return tf.identity(value)

    @tf.function
    def nothing():
        return y[0, 0]

    return {"step": step, "no_update": no_update, "forward": forward, "nothing": nothing}


def timed(function, times):
    """Seconds of each of so many calls."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        took.append(time.perf_counter() - begin)
    return took


def truth(variants, counts):
    """Shares of the step's compute, of one round."""
    times = {key: [] for key in variants}
    for _ in range(TURNS):
        for key in random.sample(list(variants), len(variants)):
            times[key] += timed(variants[key], counts[key])
    took = {key: min(seconds) for key, seconds in times.items()}
    none_s = took["nothing"]
    whole_s = took["step"] - none_s
    return {
        "forward": (took["forward"] - none_s) / whole_s,
        "backward": (took["no_update"] - took["forward"]) / whole_s,
        "optimizer": (took["step"] - took["no_update"]) / whole_s,
        "part": (took["no_update"] - took["without"]) / whole_s,
    }


def look(profile, step, looks):
    """Steps on until the agent has looked; False where it took too long."""
    told = len(looks)
    profile._want(LOOK_STEPS, "user")
    begin = time.time()
    while len(looks) == told and time.time() < begin + 240:
        step()
    return len(looks) > told


def main():
    variants = steps(os.environ["MODEL"])
    profile = sys.modules["_tfgpu_agent.placement.profile"]
    placed = profile.placement._state
    looks, send = [], profile.send

    def kept(kind, **fields):
        if kind == "layer_times":
            looks.append(fields)
        send(kind, **fields)

    profile.send = kept
    look(profile, variants["step"], looks)
    looks.clear()
    of_step = placed.attribution, placed.devices
    variants["without"] = steps(os.environ["MODEL"], with_part=False)["no_update"]
    for function in variants.values():
        timed(function, 5)
    counts = {key: max(1, round(LEAST_S / min(timed(function, 5)))) for key, function in variants.items()}
    time.sleep(1)  # the agent reads the other steps' graphs, too
    placed.attribution, placed.devices = of_step
    rounds = []
    for _ in range(ROUNDS):
        before = statistics.median(timed(variants["step"], counts["step"]))
        if not look(profile, variants["step"], looks):
            break
        rounds.append({"truth": truth(variants, counts), "told": looks[-1], "step_ms": before * 1e3})
    print(json.dumps(rounds))


main()
