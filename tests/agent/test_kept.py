"""What a script lets go of is free at once, as it is without the agent: in every way to train, after exceptions, too.

The garbage collector is off in the scripts: what is freed there is freed by reference counts alone. Keras and
TensorFlow keep some things themselves, so the truth is what the same script prints in plain Python.
"""

from __future__ import annotations

import json
import re

import pytest

from .conftest import of_type, run_script

WAYS = """
    import collections, gc, sys, threading, time, types, weakref
    import numpy as np
    import tensorflow as tf
    import keras

    gc.disable()
    gc.freeze()  # the libraries' own objects need not be looked at again and again
    COUNTED = "OwnedIterator", "OwnedMultiDeviceIterator", "DistributedIterator", "CallbackList", "FuncGraph"
    FRAMES = "fit", "evaluate", "predict", "on_train_batch_end", "train_on_batch", "step", "own_loop_that_fails"
    LONG_S = 0.3  # so that all that the agent does now and then was done

    class Failed(Exception):
        pass

    class Watch:
        def __init__(self):
            self.references, self.until, self.held, self.before = {}, None, [], {}
            self.before = self.kept()[1]

        def __call__(self, **objects):
            for name, value in objects.items():
                self.references[name] = weakref.ref(value)

        def enough(self):
            now = time.monotonic()
            self.until = self.until or now + LONG_S
            return now >= self.until

        def kept(self):
            # The names that live, how many objects of some kinds came to be that do, and frames by their functions.
            alive = [name for name, reference in self.references.items() if reference() is not None]
            known = gc.get_objects()
            counts = collections.Counter(type(one).__name__ for one in known)
            counts = {kind: counts[kind] - self.before.get(kind, 0) for kind in COUNTED}
            frames = {one.f_code.co_name for one in known if isinstance(one, types.FrameType)}.intersection(FRAMES)
            return alive, {kind: count for kind, count in counts.items() if count}, sorted(frames)

    class Callback(keras.callbacks.Callback):
        def __init__(self, watch, fail=False):
            super().__init__()
            self.watch, self.fail = watch, fail

        def on_train_batch_end(self, batch, logs=None):
            if self.fail and self.watch.enough():
                local = np.zeros(3)
                self.watch(local=local)
                raise Failed("callback")

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = not self.fail and self.watch.enough()

    class Rows(getattr(keras.utils, "PyDataset", None) or keras.utils.Sequence):  # Keras 2 has the latter
        def __init__(self, x, y):
            super().__init__()
            self.x, self.y = x, y

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return self.x[:32], self.y[:32]

    def arrays(watch):
        x, y = np.random.rand(640, 8).astype("f"), np.random.rand(640, 1).astype("f")
        watch(x=x, y=y)
        return x, y

    def net(watch, **options):
        layer = keras.layers.Dense(4)
        model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
        model.compile("adam", "mse", **{"jit_compile": False, **options})
        watch(model=model, layer=layer, optimizer=model.optimizer)
        watch.held.append(model)
        return model

    def dataset(watch, x, y, python=False):
        data = tf.data.Dataset.from_tensor_slices((x, y))
        if python:
            load = lambda a: a * 1.0
            data = data.map(lambda a, b: (tf.ensure_shape(tf.numpy_function(load, [a], tf.float32), (8,)), b))
            watch(load=load)
        data = data.batch(32)
        watch(data=data)
        return data

    def fit(watch, data, model=None, fail=False, **options):
        callback = Callback(watch, fail)
        watch(callback=callback)
        (model or net(watch)).fit(*data, **{"epochs": 10**6, **options}, verbose=0, callbacks=[callback])

    def from_arrays(watch):
        x, y = arrays(watch)
        watch.until = time.monotonic() + 10 * LONG_S  # metrics are told once a second
        fit(watch, (x, y), validation_data=(x[:64], y[:64]))

    def from_arrays_eagerly(watch):
        fit(watch, arrays(watch), net(watch, run_eagerly=True))

    def from_a_dataset(watch):
        x, y = arrays(watch)
        fit(watch, [dataset(watch, x, y, python=True)], validation_data=dataset(Watch(), x, y))

    def from_a_pydataset(watch):
        rows = Rows(*arrays(watch))
        watch(rows=rows)
        fit(watch, [rows])

    def from_a_generator(watch):
        x, y = arrays(watch)
        def batches():
            while not watch.enough():
                yield x[:32], y[:32]
        generator = batches()
        watch(generator=generator, function=batches)
        fit(watch, [generator], epochs=1)

    def in_a_thread(watch):
        thread = threading.Thread(target=fit, args=(watch, arrays(watch)))
        thread.start()
        thread.join()

    def evaluated(watch):
        (x, y), model = arrays(watch), net(watch)
        for _ in range(3):  # Keras makes graphs in each
            model.evaluate(x, y, verbose=0)
            result = model.predict(x, verbose=0)
            watch(result=result)

    def by_batches(watch):
        (x, y), model = arrays(watch), net(watch)
        while not watch.enough():
            model.train_on_batch(x[:32], y[:32])

    def failed_callback(watch):
        try:
            fit(watch, arrays(watch), fail=True)
        except Failed as error:
            watch(error=error)

    def failed_callback_in_a_thread(watch):
        threading.excepthook, before = (lambda args: None), threading.excepthook
        in_a_thread_failing(watch)
        threading.excepthook = before

    def in_a_thread_failing(watch):
        thread = threading.Thread(target=fit, args=(watch, arrays(watch)), kwargs={"fail": True})
        thread.start()
        thread.join()

    def failed_model(watch):
        class Wrong(keras.layers.Layer):
            def call(self, x):
                raise Failed("layer")
        model = keras.Sequential([Wrong()])
        model.compile("adam", "mse")
        watch(model=model)
        try:
            model.fit(*arrays(watch), verbose=0)
        except Exception:
            pass

    def callback_list_by_hand(watch):
        model, callback = net(watch), keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
        listed = keras.callbacks.CallbackList([callback], model=model, epochs=1, steps=3)
        watch(callback=callback, listed=listed)
        listed.on_train_begin()
        listed.on_epoch_begin(0)
        for batch in range(3):
            listed.on_train_batch_begin(batch)
            listed.on_train_batch_end(batch, {"loss": 1.0})

    def training_step(watch, fail_at=None, functions=tf.function):
        model, optimizer, loss = net(watch), keras.optimizers.Adam(), keras.losses.MeanSquaredError()
        steps = [0]
        @functions
        def step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
            return value
        watch(step=step, own_optimizer=optimizer, loss=loss)
        return step

    def own_loop(watch):
        data, step = dataset(watch, *arrays(watch), python=True), training_step(watch)
        while not watch.enough():
            for x, y in data:
                watch(batch=x, value=step(x, y))

    def own_loop_compiled(watch):
        data, step = dataset(watch, *arrays(watch)), training_step(watch, functions=tf.function(jit_compile=True))
        while not watch.enough():
            for x, y in data:
                watch(batch=x, value=step(x, y))

    def own_loop_with_next(watch):
        data, step = dataset(watch, *arrays(watch)), training_step(watch)
        iterator = iter(data.repeat())
        watch(iterator=iterator)
        while not watch.enough():
            step(*next(iterator))

    def own_loop_eager(watch):
        data, step = dataset(watch, *arrays(watch)), training_step(watch, functions=lambda function: function)
        while not watch.enough():
            for x, y in data:
                watch(batch=x, value=step(x, y))

    def own_loop_that_fails(watch):
        data, step = dataset(watch, *arrays(watch)), training_step(watch)
        try:
            while True:
                for x, y in data:
                    watch(batch=x)
                    step(x, y)
                    if watch.enough():
                        step(x[:, :3], y)
        except Exception as error:
            watch.held.append(error)

    def loop_in_a_function(watch):
        data, step = dataset(watch, *arrays(watch)), training_step(watch)
        @tf.function
        def epoch():
            for x, y in data:
                step(x, y)
        watch(epoch=epoch)
        while not watch.enough():
            epoch()

    def distributed(watch):
        x, y = arrays(watch)
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
        with strategy.scope():
            variable = tf.Variable(tf.ones((8, 1)))
        data = strategy.experimental_distribute_dataset(dataset(watch, x, y))
        watch(variable=variable, distributed=data)
        def replica(x, y):
            with tf.GradientTape() as tape:
                value = tf.reduce_mean((x @ variable - y) ** 2)
            variable.assign_sub(0.01 * tape.gradient(value, variable))
        @tf.function
        def step(x, y):
            strategy.run(replica, args=(x, y))
        watch(step=step)
        for _ in range(3):
            for batch in data:
                step(*batch)

    def inferred(watch):
        model = net(watch)
        serve = tf.function(lambda x: model(x))
        watch(serve=serve)
        x = tf.ones((4, 8))
        while not watch.enough():
            watch(result=serve(x))

    def failed_trace(watch):
        model = net(watch)
        @tf.function
        def serve(x):
            hidden = model(x)
            raise Failed("trace")
        watch(serve=serve)
        try:
            serve(tf.ones((4, 8)))
        except Failed as error:
            watch(error=error)

    def session(watch):
        graph = tf.Graph()
        watch(graph=graph)
        with graph.as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, (None, 8))
            w = tf.compat.v1.get_variable("w", (8, 1))
            sparse = tf.sparse.from_dense(tf.eye(2))
            train = tf.compat.v1.train.AdamOptimizer().minimize(tf.reduce_mean(tf.matmul(x, w) ** 2))
            session.run(tf.compat.v1.global_variables_initializer())
            watch(session=session, sparse=sparse)
            while not watch.enough():
                fed = np.random.rand(4, 8)
                watch(fed=fed)
                session.run([train, sparse], {x: fed})

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)

    for name in sys.argv[1:]:
        watch = Watch()
        globals()[name](watch)
        time.sleep(0.1)  # a look of the agent's that goes on may hold a thing as long as it takes
        print(name, "with its model, or its error", *watch.kept())
        watch.held.clear()
        print(name, "without", *watch.kept())
        gc.collect()
        time.sleep(0.1)  # the agent's thread may have been at one of them
        gc.collect()
        print(name, "collected", watch.kept()[0])
"""
SEVERAL = "from_a_dataset", "own_loop", "distributed"
ALL = (
    "own_loop_compiled",  # the first trainings are looked at more closely
    *("from_arrays", "from_arrays_eagerly", "from_a_pydataset", "from_a_generator", "in_a_thread", "evaluated"),
    *("by_batches", "failed_callback", "failed_callback_in_a_thread", "failed_model", "callback_list_by_hand"),
    *("own_loop_with_next", "own_loop_eager", "own_loop_that_fails", "loop_in_a_function", "inferred", "failed_trace"),
    *("session", *SEVERAL),
)


@pytest.fixture(scope="module")
def plain() -> list[str]:
    _, process = run_script(WAYS, args=ALL, agent=False, timeout_s=480)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_what_a_script_lets_go_of_is_free(plain: list[str]) -> None:
    events, process = run_script(WAYS, args=ALL, timeout_s=480)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == plain
    assert not of_type(events, "hook_off")
    # All that looks at the script now and then did.
    told = {event["type"] for event in events}
    assert told >= {
        "dataset",
        "fit_calls",
        "metrics",
        "pipeline",
        "placement",
        "predict_calls",
        "script_lines",
        "steps",
    }


def _without_counts(lines: list[str]) -> list[str]:
    return [re.sub(r"'FuncGraph': \d+", "FuncGraph", line) if " collected" not in line else line for line in lines]


@pytest.mark.parametrize(
    ("knobs", "ways"),
    [
        ({"input": "prefetch", "profile": "5"}, SEVERAL),
        # Without the distributed one: how long that is is not known, and such a run is ended.
        ({"input": "synthetic", "precision": "float32", "jit_compile": "off"}, SEVERAL[:2]),
        ({"input": "parallel"}, SEVERAL),
    ],
)
def test_so_it_is_with_knobs(knobs: dict[str, str], ways: tuple[str, ...], plain: list[str]) -> None:
    events, process = run_script(WAYS, args=ways, environment={"TFGPU_TUI_KNOBS": json.dumps(knobs)})
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    # What Keras 2 keeps until a collection holds the changed data set, too, which has functions of its own.
    assert _without_counts(lines) == _without_counts([line for line in plain if line.split()[0] in ways])
    assert not of_type(events, "hook_off")
    (told,) = {e["in_force"]["input"] for e in of_type(events, "knobs") if "input" in e["in_force"]}
    assert told == knobs["input"]
