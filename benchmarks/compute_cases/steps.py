"""Ten models, and for each what its step takes without one part of it: run by `benchmarks/compute_split.py`.

MODEL: one of MODELS. Trains under the agent until it has looked inside, then measures the truth by ablation: the whole
step, the step without the update, the forward pass alone, the step without the layer `part`; in turns, for many rounds,
and as ratios within a round, so that what else the machine does falls out. Prints them as JSON.
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
ROUNDS, LEAST_S = int(os.environ.get("ROUNDS", "25")), 0.03


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
    """The step, the step without its update, and the forward pass: functions without arguments."""
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
        return value, tape.gradient(value, model.trainable_variables)

    return step, no_update, tf.function(loss)


def timed(function, times):
    begin = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - begin) / times


def truth(name, step, no_update, forward):
    without = steps(name, with_part=False)[0]
    variants = {"step": step, "no_update": no_update, "forward": forward, "without": without}
    for function in variants.values():
        timed(function, 5)
    counts = {key: max(1, round(LEAST_S / timed(function, 5))) for key, function in variants.items()}
    shares = []
    for _ in range(ROUNDS):
        order = list(variants)
        random.shuffle(order)
        took = {key: timed(variants[key], counts[key]) for key in order}
        whole = took["step"]
        shares.append(
            {
                "forward": took["forward"] / whole,
                "backward": (took["no_update"] - took["forward"]) / whole,
                "optimizer": (whole - took["no_update"]) / whole,
                "part": (whole - took["without"]) / whole,
            }
        )
    return {key: [statistics.median(s[key] for s in shares), spread([s[key] for s in shares])] for key in shares[0]}


def spread(values):
    """Standard error of the median."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(v - middle) for v in values) * 1.2533 / len(values) ** 0.5


def main():
    name = os.environ["MODEL"]
    step, no_update, forward = steps(name)
    profile = sys.modules["_tfgpu_agent.placement.profile"]
    usual = None
    begin = time.time()
    while profile._state.wanted and time.time() < begin + 90:
        step()
    usual = timed(step, 50)
    print(json.dumps({"truth": truth(name, step, no_update, forward), "step_ms": usual * 1e3}))


main()
