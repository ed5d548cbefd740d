"""Forked workers that use TensorFlow: the training hangs before its first step (finding run.stalled).

tfgpu-tui --stall-after 10 demo/stalled_worker.py

It ends itself after a minute, or after so many seconds as stand behind its name. With `numpy` there, the workers use
NumPy alone, and it trains.
"""

import multiprocessing
import os
import sys
import threading

import keras
import numpy as np
from digits import image_files
from PIL import Image

BATCH = 32
NUMPY = "numpy" in sys.argv
PATIENCE_S = float(next((word for word in sys.argv[1:] if word.isdigit()), 60))
files, labels = image_files()
resize = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Resizing(16, 16, interpolation="nearest")])
resize.predict(np.zeros((1, 8, 8, 1), "float32"), verbose=0)  # from here on TensorFlow has threads


class Digits(keras.utils.PyDataset):
    """Batches made by two worker processes."""

    def __init__(self):
        super().__init__(workers=2, use_multiprocessing=True)

    def __len__(self):
        return len(files) // BATCH

    def __getitem__(self, index):
        chosen = range(index * BATCH, (index + 1) * BATCH)
        batch = np.stack([np.asarray(Image.open(files[i]).resize((8, 8)), np.float32) / 255.0 for i in chosen])
        batch = batch[..., np.newaxis]
        larger = batch.repeat(2, axis=1).repeat(2, axis=2) if NUMPY else resize.predict(batch, verbose=0)
        return larger, np.array([labels[i] for i in chosen])


def give_up():
    for child in multiprocessing.active_children():
        child.kill()
    print(f"no end after {PATIENCE_S:.0f} s: giving up", flush=True)
    os._exit(75)


model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(10, name="digit")])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
watch = threading.Timer(PATIENCE_S, give_up)
watch.daemon = True
watch.start()
model.fit(Digits(), epochs=3, verbose=2)
