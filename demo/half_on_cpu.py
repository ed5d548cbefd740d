"""Mixed precision on a CPU that has no arithmetic for float16: each number is converted to float32 and back.

tfgpu-tui demo/half_on_cpu.py
tfgpu-tui --set precision=float32 demo/half_on_cpu.py    # then `c` compares both
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3

keras.mixed_precision.set_global_policy("mixed_float16")


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .batch(64)
    .prefetch(tf.data.AUTOTUNE)
)
model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Conv2D(32, 3, activation="relu", name="shapes"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, dtype="float32", name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(dataset, epochs=EPOCHS)
