"""One slow stage: `load_image` decodes with Python (numpy_function), one image at a time, and each step waits for it.

tfgpu-tui demo/slow_map.py
"""

import sys
import time

import keras
import numpy as np
import tensorflow as tf
from digits import image_files
from PIL import Image

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def decode_with_pillow(path: bytes) -> np.ndarray:
    image = np.asarray(Image.open(path.decode()), np.float32) / 255.0
    time.sleep(0.001)  # A remote disk's latency: what a slow file system adds to each read.
    return image[..., np.newaxis]


def load_image(path, label):
    image = tf.numpy_function(decode_with_pillow, [path], tf.float32)
    return tf.ensure_shape(image, (32, 32, 1)), label


files, labels = image_files()
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(2000).map(load_image).batch(32)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS)
