"""A layer that changes the images of the batch one after the other: a loop in the graph takes most of the step.

tfgpu-tui --set profile=5 demo/one_by_one.py          # tf.map_fn in the layer
tfgpu-tui --set profile=5 demo/one_by_one.py 6 batch  # the same for the whole batch at once
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 6
AT_ONCE = "batch" in sys.argv


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


@keras.saving.register_keras_serializable("demo")
class Contrast(keras.layers.Layer):
    """Another random contrast for each image."""

    def call(self, images):
        def change(image):
            factor = tf.random.uniform([], 0.8, 1.2)
            middle = tf.reduce_mean(image)
            return tf.clip_by_value((image - middle) * factor + middle, 0.0, 1.0)

        if not AT_ONCE:
            return tf.map_fn(change, images)
        factor = tf.random.uniform([tf.shape(images)[0], 1, 1, 1], 0.8, 1.2)
        middle = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        return tf.clip_by_value((images - middle) * factor + middle, 0.0, 1.0)


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .batch(64, drop_remainder=True)
    .prefetch(tf.data.AUTOTUNE)
)
model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        Contrast(name="contrast"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(dataset, epochs=EPOCHS)
