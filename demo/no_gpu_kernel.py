"""Work that a GPU has no kernels for: `bucket` hashes strings inside the model, `darkness` averages integers.

Without a GPU it is predicted, from the kernels that the GPU build of the same TensorFlow version has.

    tfgpu-tui demo/no_gpu_kernel.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


class Bucket(keras.layers.Layer):
    """Writes the mean brightness as text and hashes it: string ops run on the CPU only."""

    def call(self, images):
        text = tf.strings.as_string(tf.reduce_mean(images, axis=[1, 2, 3]), precision=1)
        bucket = tf.strings.to_hash_bucket_fast(text, 7)
        return images + tf.cast(bucket, images.dtype)[:, None, None, None] / 100.0


class Darkness(keras.layers.Layer):
    """Averages 8-bit values as integers: the kernel of Mean for int32 is the CPU's."""

    def call(self, images):
        mean = tf.reduce_mean(tf.cast(images * 255.0, tf.int32), axis=[1, 2, 3], keepdims=True)
        return images - tf.cast(mean, images.dtype) / 255.0


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .batch(32)
    .prefetch(tf.data.AUTOTUNE)
)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        Bucket(name="bucket"),
        Darkness(name="darkness"),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
# On a GPU Keras would compile the step with XLA, which has no string ops at all: then it does not start.
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
model.fit(dataset, epochs=EPOCHS)
