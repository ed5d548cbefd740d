"""Healthy trainings, each with a pause of its own kind: `python pauses.py NAME SECONDS`.

Each prints `pause` when its pause begins and `over` when it trains again, so that whoever runs it can do what a person
or a machine does meanwhile.
"""

from __future__ import annotations

import os
import pdb
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

NAME, PAUSE_S = sys.argv[1], float(sys.argv[2])
x = np.random.default_rng(0).random((4096, 64)).astype("float32")
y = (x[:, :1] > 0.5).astype("float32")


def net(**how: object) -> keras.Model:
    layers = [keras.Input((64,)), keras.layers.Dense(1024, "relu"), keras.layers.Dense(1024, "relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.01), "loss": "mse", **how})
    return model


def batches() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(512).cache().repeat().prefetch(2)


def say(word: str) -> None:
    print(word, flush=True)


class Pause(keras.callbacks.Callback):
    """What `what` does, after 100 batches."""

    def __init__(self, what: object, at_epoch: bool = False) -> None:
        super().__init__()
        self.what, self.at_epoch, self.done = what, at_epoch, False

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if not self.at_epoch and batch == 100:
            self.act()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self.at_epoch and epoch == 1:
            self.act()

    def act(self) -> None:
        if self.done:
            return
        self.done = True
        say("pause")
        self.what()
        say("over")


def fit(
    *callbacks: keras.callbacks.Callback, model: keras.Model | None = None, epochs: int = 4, **more: object
) -> None:
    (model or net()).fit(batches(), epochs=epochs, steps_per_epoch=150, verbose=0, callbacks=list(callbacks), **more)


def wait() -> None:
    """Until PAUSE_S are over, whoever stops this process meanwhile."""
    time.sleep(PAUSE_S)


def validation(parts: int) -> None:
    """Whose elements come from a cold storage: in so many parts."""

    def elements():
        for _ in range(parts):
            time.sleep(PAUSE_S / parts)
            yield x[:64], y[:64]

    spec = tf.TensorSpec((64, 64), tf.float32), tf.TensorSpec((64, 1), tf.float32)
    held_out = tf.data.Dataset.from_generator(elements, output_signature=spec)
    say("pause")
    fit(validation_data=held_out, validation_freq=4)
    say("over")


def long_validation() -> None:
    validation(90)


def cold_validation() -> None:
    validation(1)


def checkpoint() -> None:
    """A checkpoint, and a file system that takes long to take it: a pipe whose reader is slow."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        end = time.monotonic() + PAUSE_S
        while os.read(reader, 4096):
            time.sleep(max(0.0, min(0.5, end - time.monotonic())))
        os._exit(0)
    os.close(reader)
    model = net()

    def save() -> None:
        path = os.path.join(tempfile.mkdtemp(), "m.weights.h5")
        model.save_weights(path)
        with open(path, "rb") as file:
            left = memoryview(file.read())
        end = time.monotonic() + PAUSE_S
        while time.monotonic() < end:
            os.write(writer, left[:4096])
        os.close(writer)

    fit(Pause(save, at_epoch=True), model=model)


def suspended() -> None:
    """The caller stops it (SIGSTOP) when it says `pause`, and lets it go on."""
    fit(Pause(lambda: None))


def asleep_machine() -> None:
    """The caller stops all processes of the run."""
    fit(Pause(lambda: None))


def debugged() -> None:
    """The caller attaches itself (ptrace), as gdb does."""
    fit(Pause(lambda: None))


def breakpoint_hit() -> None:
    """The caller types `c`."""
    fit(Pause(pdb.set_trace))


def asked() -> None:
    """The caller types a line."""
    fit(Pause(lambda: input("go on? ")))


def three_steps() -> None:
    """Epochs of three steps, and between two of them a pause."""

    class Between(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            if epoch == 75:
                say("pause")
                wait()
                say("over")

    net().fit(batches(), epochs=150, steps_per_epoch=3, verbose=0, callbacks=[Between()])


def learning_rate() -> None:
    """Jumps up and down: the loss jumps with it."""
    say("pause")
    rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: (1e-2, 1e-1, 1e-4, 5e-2)[epoch % 4])
    fit(rate, epochs=8)
    say("over")


class Undefined(keras.metrics.Metric):
    """A share of nothing is no number, and says so."""

    def update_state(self, *_: object, **__: object) -> None:
        pass

    def result(self) -> tf.Tensor:
        return tf.constant(float("nan"))


def undefined_metric() -> None:
    say("pause")
    fit(model=net(metrics=[Undefined(name="precision_of_rare")]))
    say("over")


def long_trace() -> None:
    class Slow(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            if (
                not tf.executing_eagerly()
                and not getattr(self, "seen", False)
                and inputs.shape[0] is None
                and self.late
            ):
                self.seen = True
                say("pause")
                wait()
                say("over")
            return inputs * 1.0

        late = False

    slow = Slow()
    model = keras.Sequential([keras.Input((64,)), slow, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    slow.late = True
    fit(model=model)


def long_compile() -> None:
    """XLA takes its time with many ops, on one core."""

    class Wide(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            for n in range(int(PAUSE_S * 8)):
                inputs = tf.math.sin(inputs + float(n)) @ tf.eye(64)
            return inputs

    model = keras.Sequential([keras.Input((64,)), Wide(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    say("pause")
    model.fit(batches(), epochs=1, steps_per_epoch=60, verbose=0)
    say("over")


def first_fill() -> None:
    """A shuffle buffer that fills from a slow generator before the first step."""

    def elements():
        while True:
            time.sleep(PAUSE_S / 512)
            yield x[0], y[0]

    spec = tf.TensorSpec((64,), tf.float32), tf.TensorSpec((1,), tf.float32)
    say("pause")
    slow = tf.data.Dataset.from_generator(elements, output_signature=spec).shuffle(512).take(513).cache()
    net().fit(slow.repeat().batch(64), epochs=1, steps_per_epoch=1200, verbose=0)
    say("over")


def own_loop() -> None:
    """A loop of the script's own that waits for another program's file between two steps."""
    model, optimizer = net(), keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(a) - b) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for number, (a, b) in enumerate(batches().take(600)):
        step(a, b)
        if number == 200:
            say("pause")
            wait()
            say("over")


CASES = (
    long_validation, cold_validation, checkpoint, suspended, asleep_machine, debugged, breakpoint_hit, asked,
    three_steps, learning_rate, undefined_metric, long_trace, long_compile, first_fill, own_loop,
)  # fmt: skip
if __name__ == "__main__":
    next(case for case in CASES if case.__name__ == NAME)()
