"""A training that keeps what it should not: each step's predictions go to a list, for a plot that nobody draws.

tfgpu-tui demo/memory_leak.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 40


class KeepPredictions(keras.callbacks.Callback):
    """Remembers what the model said of a batch, at every step."""

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.history = []

    def on_train_batch_end(self, batch, logs=None):
        self.history.append(self.images + float(batch))


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .batch(64, drop_remainder=True)
    .take(25)
    .cache()
    .prefetch(tf.data.AUTOTUNE)
)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(32, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
images = next(iter(dataset))[0]
model.fit(dataset, epochs=EPOCHS, callbacks=[KeepPredictions(images)])
