"""Trains for some epochs and prints the microseconds a step of each: `epochs.py fit|own EPOCHS STEPS`."""

import json
import sys
import time

import model as training

kind, epochs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
times = []
if kind == "fit":
    from tensorflow import keras

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            times.append((time.perf_counter() - self.start) / steps * 1e6)

    model = training.keras_model(keras, slow=False)
    model.fit(training.dataset(), epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[Clock()])
else:
    step, iterator = training.train_step(slow=False), iter(training.dataset())
    for _ in range(epochs):
        start = time.perf_counter()
        for _ in range(steps):
            step(*next(iterator))
        times.append((time.perf_counter() - start) / steps * 1e6)
print("RESULT", json.dumps(times[2:]))
