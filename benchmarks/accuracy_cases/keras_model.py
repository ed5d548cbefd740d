"""The model of the cases, and the callback that notes when Keras asks for a batch."""

from __future__ import annotations

import stamps
import tensorflow as tf

try:
    import tf_keras as keras
except ImportError:
    import keras

KERAS3 = keras.__version__.startswith("3")


class Work(keras.layers.Layer):
    """Sleeps when the batch and its own weight are there, so that a step can't begin before the one before ended."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.built = True

    def call(self, inputs):
        return inputs * self.scale + stamps.in_model(inputs, self.scale)

    def compute_output_shape(self, shape):
        return shape


class Stamps(keras.callbacks.Callback):
    """The last callback: nothing of Keras' lies between its notes and the train function."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.fail_at = fail_at

    def on_epoch_begin(self, epoch, logs=None):
        stamps.phase = "train"
        stamps.note("edge")

    def on_train_batch_begin(self, batch, logs=None):
        stamps.phase = "train"
        if not stamps.opaque:
            stamps.note("asked")

    def on_train_batch_end(self, batch, logs=None):
        stamps.note("end")
        if batch == self.fail_at:
            raise KeyError("a callback of the script fails")

    def on_test_begin(self, logs=None):
        stamps.phase = "test"
        stamps.note("edge")

    def on_test_batch_begin(self, batch, logs=None):
        stamps.phase = "test"
        stamps.note("asked")

    def on_test_batch_end(self, batch, logs=None):
        stamps.note("end")


def layers():
    return [keras.Input((8,)), Work(), keras.layers.Dense(1)]


def model(optimizer="sgd", cls=keras.Sequential, **compiled):
    if cls is keras.Sequential:
        made = keras.Sequential(layers())
    else:
        first, *rest = layers()
        output = first
        for layer in rest:
            output = layer(output)
        made = cls(first, output)
    made.compile(optimizer, "mse", **{"jit_compile": False, **compiled})
    return made


def eager_step(m, a, b, optimizer=None):
    """One step of a loop of the script's own."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((m(a, training=True) - b) ** 2)
    gradients = tape.gradient(loss, m.trainable_variables)
    if optimizer is not None:
        optimizer.apply_gradients(zip(gradients, m.trainable_variables))
    return gradients
