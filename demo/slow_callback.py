"""A callback that writes the weights' norms to a file after every batch: the host is busy, the model waits.

tfgpu-tui demo/slow_callback.py
"""

import json
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


class WeightHistory(keras.callbacks.Callback):
    """Keeps the histogram of every weight matrix, after every batch: useful once an epoch, dear once a step."""

    def on_train_begin(self, logs=None):
        self.file = tempfile.TemporaryFile("w")  # noqa: SIM115 (it lives as long as the training)

    def on_train_batch_end(self, batch, logs=None):
        histograms = [np.histogram(v.numpy(), bins=64)[0].tolist() for v in self.model.trainable_variables]
        self.file.write(json.dumps(histograms) + "\n")


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .shuffle(2000)
    .batch(32)
    .prefetch(tf.data.AUTOTUNE)
)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(128, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS, callbacks=[WeightHistory()])
