"""Layers on two devices: `on_second` computes on the second device although the rest of the model is on the first.

On a machine with a GPU those are GPU:0 and CPU:0; without one the CPU is split into two logical devices.

    tfgpu-tui demo/two_devices.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

if tf.config.list_physical_devices("GPU"):
    SECOND = "/CPU:0"
else:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    SECOND = "/CPU:1"


class Pinned(keras.layers.Layer):
    """A dense layer whose author pinned it to a device years ago."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units, activation="relu", name="dense")

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        with tf.device(SECOND):
            return self.dense(inputs)


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .batch(32)
    .prefetch(tf.data.AUTOTUNE)
)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        Pinned(128, name="on_second"),
        keras.layers.Dense(10, name="digit"),
    ]
)
# On a GPU Keras would compile the step with XLA, which puts all of it on one device.
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
model.fit(dataset, epochs=EPOCHS)
