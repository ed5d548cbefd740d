"""The training that is measured: one linear layer, with a wait of 10 ms for its device where asked; fit or an own loop.

Run by the interpreter that is measured, so it imports nothing of this project.
"""

import time

import numpy as np
import tensorflow as tf

WIDTH = 8


def dataset():
    """One batch, again and again: nothing to wait for."""
    return tf.data.Dataset.from_tensors((np.zeros((8, WIDTH), np.float32), np.zeros((8, 1), np.float32))).repeat()


slept_s = [0.0]
"""How long the host waited for its device so far, by its own clock: no two sleeps are alike."""


def through_device(x):
    """The host waits for its device, about 10 ms."""

    def wait(x):
        start = time.perf_counter()
        time.sleep(0.01)
        slept_s[0] += time.perf_counter() - start
        return x

    return tf.ensure_shape(tf.numpy_function(wait, [x], tf.float32), (8, WIDTH))


def keras_model(keras, slow):
    class Device(keras.layers.Layer):
        def call(self, x):
            return through_device(x)

    layers = [Device()] if slow else []
    model = keras.Sequential([keras.layers.Input((WIDTH,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def train_step(slow):
    """A training step of an own loop, as a tf.function."""
    weights = tf.Variable(tf.zeros((WIDTH, 1)))

    @tf.function
    def step(x, y):
        if slow:
            x = through_device(x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ weights - y) ** 2)
        weights.assign_sub(0.1 * tape.gradient(loss, weights))

    return step
