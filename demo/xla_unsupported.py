"""A step that XLA can't compile: a layer turns the images with an op of TensorFlow alone (xla.unsupported_op).

tfgpu-tui demo/xla_unsupported.py
tfgpu-tui --set jit_compile=off demo/xla_unsupported.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


class Turned(keras.layers.Layer):
    """Each image, turned by a small angle of its own."""

    def call(self, images):
        angles = tf.random.uniform([tf.shape(images)[0]], -0.3, 0.3)
        sin, cos, zero = tf.sin(angles), tf.cos(angles), tf.zeros_like(angles)
        turns = tf.stack([cos, -sin, 16 * (1 - cos + sin), sin, cos, 16 * (1 - cos - sin), zero, zero], 1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images, transforms=turns, output_shape=[32, 32], interpolation="BILINEAR", fill_value=0.0
        )


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image).cache().batch(32).prefetch(2)

layers = [Turned(name="turned"), keras.layers.Flatten(), keras.layers.Dense(10, name="digit")]
model = keras.Sequential([keras.Input((32, 32, 1)), *layers])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
model.fit(dataset, epochs=EPOCHS)
