"""The learning rate goes into a tf.function as a Python number: each new one is traced anew (finding host.retracing).

tfgpu-tui demo/retracing.py
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
dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load_image).cache().shuffle(2000).batch(64)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(8, 3, activation="relu", name="edges"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
optimizer = keras.optimizers.SGD()
optimizer.build(model.trainable_variables)
loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function
def train_step(images, targets, rate):
    with tf.GradientTape() as tape:
        loss = loss_function(targets, model(images, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.learning_rate.assign(rate)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


step = 0
for epoch in range(EPOCHS):
    for images, targets in dataset:
        step += 1
        loss = train_step(images, targets, 0.1 / (1 + step / 100))
    print(f"epoch {epoch + 1}: loss {float(loss):.4f}")
