"""A generator that reads its table of numbers from text at the beginning of each pass (finding input.epoch_start).

tfgpu-tui demo/epoch_start.py
"""

import csv
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from digits import image_files
from PIL import Image

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
BATCH = 64

files, labels = image_files()
folder = tempfile.TemporaryDirectory()
table = Path(folder.name) / "digits.csv"
with table.open("w", newline="") as file:
    writer = csv.writer(file)
    for path, label in zip(files, labels, strict=True):
        pixels = np.asarray(Image.open(path))
        for seen in (pixels, pixels[:, ::-1]):  # each digit, and its mirror image
            writer.writerow([label, *seen.flatten()])


def batches():
    with table.open(newline="") as file:
        rows = np.array([[float(value) for value in row] for row in csv.reader(file)], np.float32)
    for begin in range(0, len(rows), BATCH):
        part = rows[begin : begin + BATCH]
        yield part[:, 1:].reshape(-1, 32, 32, 1) / 255.0, part[:, 0]


signature = (tf.TensorSpec((None, 32, 32, 1), tf.float32), tf.TensorSpec((None,), tf.float32))
dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(tf.data.AUTOTUNE)

model = keras.Sequential(
    [
        keras.Input((32, 32, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="edges"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(dataset, epochs=EPOCHS)
folder.cleanup()
