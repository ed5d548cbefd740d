"""Autotune is switched off, so nothing prepares the next batch while the model computes (input.no_prefetch).

tfgpu-tui demo/no_prefetch.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.image.resize(tf.image.resize(image, (768, 768)), (32, 32)) / 255.0, label


files, labels = image_files()
options = tf.data.Options()
options.autotune.enabled = False  # copied from a forum: "saves memory"
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image).batch(32).with_options(options)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(32, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS)
