"""A loss that leaves the numbers: the learning rate is a thousand times too large (run.nan_loss).

tfgpu-tui demo/nan_loss.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32), tf.cast(label, tf.float32)


files, labels = image_files()
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image).cache().batch(32).prefetch(2)

layers = [keras.layers.Flatten(), keras.layers.Dense(64, activation="relu", name="hidden"), keras.layers.Dense(1)]
model = keras.Sequential([keras.Input((32, 32, 1)), *layers])
model.compile(keras.optimizers.SGD(1.0), "mse")
model.fit(dataset, epochs=EPOCHS)
