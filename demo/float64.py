"""NumPy's default dtype slipped into the model: `standardise` computes in float64, at a fraction of the speed.

tfgpu-tui demo/float64.py
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

SCALE = np.array([0.25, 4.0])  # float64, as everything that NumPy makes of Python numbers


class Standardise(keras.layers.Layer):
    """Subtracts a mean and divides by a deviation that came from NumPy."""

    def call(self, images):
        wide = tf.cast(images, tf.float64)
        return tf.cast(tf.tanh((wide - tf.constant(SCALE[0])) * tf.constant(SCALE[1])), tf.float32)


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
        Standardise(name="standardise"),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS)
