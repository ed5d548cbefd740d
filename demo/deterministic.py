"""Deterministic results: the random map of the input runs one element after the other (finding host.determinism).

tfgpu-tui demo/deterministic.py                          # and Enter on the finding: what it costs
tfgpu-tui --set determinism=off demo/deterministic.py    # the same without it
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

keras.utils.set_random_seed(1)
tf.config.experimental.enable_op_determinism()


def shifted(image, label):
    """A digit in another place of a larger picture, with some noise."""
    image = tf.image.resize(image, (40, 40))
    image = tf.image.random_crop(tf.image.resize_with_pad(image, 64, 64), (48, 48, 1))
    return tf.image.random_contrast(image, 0.8, 1.2), label


digits = load_digits()
images = (digits.images[..., None] / 16).astype(np.float32)
dataset = tf.data.Dataset.from_tensor_slices((images, digits.target))
dataset = dataset.map(shifted, num_parallel_calls=tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)

model = keras.Sequential(
    [
        keras.Input((48, 48, 1)),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="edges"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(dataset, epochs=EPOCHS, verbose=2)
