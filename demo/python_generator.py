"""A Python generator feeds fit(): it reads and augments one batch at a time, while the model waits.

tfgpu-tui demo/python_generator.py
"""

import sys

import keras
import numpy as np
from digits import image_files
from PIL import Image

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
BATCH = 32
files, labels = image_files()


def rotated_batches():
    """Endless batches of images, each turned by a few degrees with Pillow."""
    chance = np.random.default_rng(0)
    while True:
        chosen = chance.integers(0, len(files), BATCH)
        images = [Image.open(files[i]).resize((128, 128)).rotate(chance.uniform(-10, 10)) for i in chosen]
        batch = np.stack([np.asarray(image.resize((32, 32)), np.float32) / 255.0 for image in images])
        yield batch[..., np.newaxis], np.array([labels[i] for i in chosen])


model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(8, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(rotated_batches(), steps_per_epoch=len(files) // BATCH, epochs=EPOCHS)
