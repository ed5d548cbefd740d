"""Short epochs and a long validation after each: most of the time is not training (finding host.validation).

tfgpu-tui demo/long_validation.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
images = (
    tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image, num_parallel_calls=tf.data.AUTOTUNE).cache()
)
training = images.take(512).shuffle(512).batch(32).prefetch(tf.data.AUTOTUNE)
validation = images.skip(512).batch(8).prefetch(tf.data.AUTOTUNE)

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
model.fit(training, validation_data=validation, epochs=EPOCHS)
