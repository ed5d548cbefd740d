"""A training loop of one's own, without tf.function: Python starts every op of every step (finding host.eager).

tfgpu-tui demo/custom_loop.py
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.cast(image, tf.float32) / 255.0, label


files, labels = image_files()
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image).cache().shuffle(2000).batch(32)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(8, 3, activation="relu", name="edges"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
optimizer = keras.optimizers.Adam()
loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

for epoch in range(EPOCHS):
    losses = []
    for images, targets in dataset:
        with tf.GradientTape() as tape:
            loss = loss_function(targets, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
    print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")
