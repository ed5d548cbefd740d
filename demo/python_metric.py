"""A metric in NumPy, put into the graph with numpy_function: each step waits for it, on one core.

tfgpu-tui demo/python_metric.py             # the metric is Python
tfgpu-tui demo/python_metric.py 10 keras    # Keras' own metric for the same question
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


def best_of_three(labels, scores):
    """Share of the images whose label is among the three highest scores, one after the other."""
    found = 0
    for label, row in zip(labels.ravel(), scores, strict=True):
        found += int(label) in sorted(range(10), key=lambda digit, row=row: row[digit])[-3:]
    return np.float32(found / len(scores))


def top_3(labels, scores):
    share = tf.numpy_function(best_of_three, [labels, scores], tf.float32)
    share.set_shape([])
    return share


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .batch(256)
    .cache()
    .prefetch(tf.data.AUTOTUNE)
)
model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(10, name="digit")])
own = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top_3")
model.compile(
    "adam",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[own if "keras" in sys.argv else top_3],
)
model.fit(dataset, epochs=EPOCHS)
