"""One CPU for the whole job, as a careless `--cpus 1` grants it: decoding can't keep up (finding input.cpu_starved).

tfgpu-tui demo/cpu_starved.py
"""

import os
import sys

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from digits import image_files  # noqa: E402

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 4


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.image.resize(tf.image.resize(image, (1024, 1024)), (32, 32)) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=4)
    .batch(32)
    .prefetch(tf.data.AUTOTUNE)
)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(8, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS)
