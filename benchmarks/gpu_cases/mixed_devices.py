"""Layers on both devices: one pinned to the CPU, strings without a GPU kernel, the rest on the GPU. STEPS an epoch."""

import os

import keras
import numpy as np
import tensorflow as tf


class Cut(keras.layers.Layer):
    def call(self, x):
        with tf.device("/CPU:0"):
            return x * 2.0


STEPS = int(os.environ.get("STEPS", "300"))
inputs, words = keras.Input((64,)), keras.Input((1,), dtype="string")
x = keras.layers.Dense(256, activation="relu", name="first")(inputs)
x = Cut(name="pinned_to_cpu")(x)
w = keras.layers.StringLookup(vocabulary=["a", "b", "c"], name="lookup")(words)
w = keras.layers.Flatten(name="flat")(keras.layers.Embedding(5, 16, name="embed")(w))
x = keras.layers.Dense(1, name="last")(keras.layers.Concatenate(name="join")([x, w]))
model = keras.Model([inputs, words], x)
model.compile("adam", "mse", jit_compile=False)
a, y = np.random.rand(4096, 64).astype("float32"), np.random.rand(4096, 1).astype("float32")
b = tf.constant(np.random.choice(["a", "b", "z"], (4096, 1)).tolist())
data = tf.data.Dataset.from_tensor_slices(((a, b), y)).batch(64).repeat()
model.fit(data, steps_per_epoch=STEPS, epochs=2, verbose=0)
