"""A loop of one's own that counts histograms of all weights after every step, for a log (finding host.python).

tfgpu-tui demo/slow_logging.py
"""

import json
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


def write_histograms(log, step):
    for variable in model.trainable_variables:
        counts, edges = np.histogram(variable.numpy(), bins=100)
        log.write(json.dumps({"step": step, "name": variable.name, "counts": counts.tolist(), "low": float(edges[0])}))


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
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
optimizer = keras.optimizers.Adam()
optimizer.build(model.trainable_variables)
loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function(reduce_retracing=True)
def train_step(images, targets):
    with tf.GradientTape() as tape:
        loss = loss_function(targets, model(images, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


with tempfile.TemporaryFile("w") as log:
    for epoch in range(EPOCHS):
        for step, (images, targets) in enumerate(dataset):
            loss = train_step(images, targets)
            write_histograms(log, step)
        print(f"epoch {epoch + 1}: loss {float(loss):.4f}")
