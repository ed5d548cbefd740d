"""A PyDataset with one worker, Keras' default: the model waits for each batch (finding input.pydataset_single).

tfgpu-tui demo/pydataset_single.py
"""

import sys

import keras
import numpy as np
from digits import image_files
from PIL import Image

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
BATCH = 32
files, labels = image_files()


class TurnedDigits(keras.utils.PyDataset):
    """Images that Pillow turns by a few degrees, batch by batch."""

    def __len__(self):
        return len(files) // BATCH

    def __getitem__(self, index):
        chosen = range(index * BATCH, (index + 1) * BATCH)
        images = [Image.open(files[i]).resize((128, 128)).rotate(i % 20 - 10).resize((32, 32)) for i in chosen]
        batch = np.stack([np.asarray(image, np.float32) / 255.0 for image in images])
        return batch[..., np.newaxis], np.array([labels[i] for i in chosen])


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
model.fit(TurnedDigits(), epochs=EPOCHS)
