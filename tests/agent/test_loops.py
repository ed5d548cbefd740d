"""The split of a step's time against the script's own clock, in every kind of loop, on real TensorFlow."""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

import pytest

from tests.timed import attempt, timed

from .conftest import Event, cases_of, of_type, other_pythons, run_script

pytestmark = timed

PYTHONS = [sys.executable, *other_pythons()]

HEAD = """
    import json, os, sys, time
    import numpy as np
    import tensorflow as tf
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    L = keras.layers
    agent = sys.modules["_tfgpu_agent.hooks.runtime"]
    truth = {}
    N, DELAY, WORK = 24, 0.02, 0.01

    def settle():
        for name in ("steps.keras_loop", "steps.custom_steps"):
            sys.modules["_tfgpu_agent." + name].settle()

    def case(name):
        # What was summed before belongs to the case before; the marker parts the events.
        global now
        settle()
        agent.send("case", name=name)
        now = truth[name] = {"delay": 0.0, "work": 0.0, "pause": 0.0}

    def spend(kind, seconds):
        start = time.perf_counter()
        time.sleep(seconds)
        now[kind] += time.perf_counter() - start

    def delayed(x):
        spend("delay", DELAY)
        return x

    def worked(x):
        spend("work", WORK)
        return x

    def slow(x, y):
        z = tf.numpy_function(delayed, [x], tf.float32)
        z.set_shape(x.shape)
        return z, y

    options = tf.data.Options()
    # Else the next batch is made while the model computes: by an injected prefetch, or a map that became parallel.
    options.experimental_optimization.inject_prefetch = options.experimental_optimization.map_parallelization = False
    x, y = np.random.randn(32, 8).astype("f"), np.random.randn(32, 1).astype("f")

    def batches(n, function=slow):
        return tf.data.Dataset.from_tensors((x, y)).repeat(n).map(function).with_options(options)

    def model(**compiled):
        m = keras.Sequential([keras.Input((8,)), L.Dense(4), L.Dense(1)])
        m.compile("sgd", "mse", **{"jit_compile": False, **compiled})
        return m

    def finish():
        settle()
        print("TRUTH", json.dumps(truth))
"""

KERAS = """
    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            spend("pause", 0.005)
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.03)

    class Counter(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.begins = self.ends = 0
        def on_train_batch_begin(self, batch, logs=None):
            self.begins += 1
        def on_train_batch_end(self, batch, logs=None):
            self.ends += 1

    case("fit")
    m = model(metrics=["mae"])
    counter = Counter()
    slow_callback = Slow()
    m.fit(batches(N), epochs=2, validation_data=batches(7), verbose=0, callbacks=[slow_callback, counter])
    now["seen"] = [counter.begins, counter.ends, int(m.optimizer.iterations.numpy())]
    now["left"] = [hook for hook in vars(slow_callback) if hook.startswith("on_")]
    case("evaluate")
    m.evaluate(batches(N), verbose=0)
    case("predict")
    m.predict(batches(N).map(lambda x, y: x), verbose=0)
    case("arrays")
    m.fit(np.tile(x, (4, 1))[:100], np.tile(y, (4, 1))[:100], batch_size=32, epochs=3, verbose=0)
    case("generator")
    def generate():
        for _ in range(N):
            spend("delay", DELAY)
            yield x, y
    m.fit(generate(), verbose=0)
    case("sequence")
    class Sequence(getattr(keras.utils, "PyDataset", None) or keras.utils.Sequence):
        def __len__(self):
            return N
        def __getitem__(self, index):
            spend("delay", DELAY)
            return x, y
    m.fit(Sequence(), shuffle=False, verbose=0)
    case("from_generator")
    signature = (tf.TensorSpec((32, 8)), tf.TensorSpec((32, 1)))
    m.fit(tf.data.Dataset.from_generator(generate, output_signature=signature).with_options(options), verbose=0)
    user = sys.modules["_tfgpu_agent.input.user_code"].user_times()
    case("spe")
    m = model(steps_per_execution=10)
    m.fit(batches(25), epochs=2, verbose=0)
    now["seen"] = int(m.optimizer.iterations.numpy())
    case("eager")
    model(run_eagerly=True).fit(batches(N), verbose=0)
    case("jit")
    model(jit_compile=True).fit(batches(N), verbose=0)
    case("subclass")
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = L.Dense(1)
        def call(self, x):
            return self.one(x)
        def train_step(self, data):
            tf.numpy_function(worked, [data[0]], tf.float32)
            return super().train_step(data)
    m = Own()
    m.compile("sgd", "mse", jit_compile=False)
    m.fit(batches(N), verbose=0)
    case("failed")
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 9:
                raise KeyError("mine")
    fail = Fail()
    try:
        m.fit(batches(N), verbose=0, callbacks=[fail])
    except KeyError:
        pass
    case("train_on_batch")
    m = model()
    for number, (a, b) in enumerate(batches(N)):
        if number:  # what comes before the first step and after the last belongs to none
            spend("pause", 0.002)
        m.train_on_batch(a, b)
    finish()
    print("USER", json.dumps(user))
"""

CUSTOM = """
    w = tf.Variable(tf.zeros((8, 1)))

    def step_body(x, y):
        with tf.GradientTape() as tape:
            z = tf.numpy_function(worked, [tf.reduce_sum(x)], tf.float32)
            z.set_shape(())
            loss = tf.reduce_mean((x @ w - y) ** 2) + 0 * tf.stop_gradient(z)
        w.assign_sub(0.1 * tape.gradient(loss, w))
        return loss

    case("for")
    step = tf.function(step_body)
    for number, (a, b) in enumerate(batches(N)):
        if number:
            spend("pause", 0.005)
        step(a, b)
    case("next in function")
    @tf.function
    def one(iterator):
        a, b = next(iterator)
        return step_body(a, b)
    iterator = iter(batches(N))
    for _ in range(N):
        one(iterator)
    case("loop in function")
    @tf.function
    def many(iterator, n):
        for _ in tf.range(n):
            a, b = next(iterator)
            step_body(a, b)
    iterator = iter(batches(N))
    many(iterator, N // 2)
    many(iterator, N // 2)
    case("for in function")
    @tf.function
    def epoch(dataset):
        for a, b in dataset:
            step_body(a, b)
    epoch(batches(N))
    case("iterator in function")
    @tf.function
    def rest(iterator):
        for a, b in iterator:
            step_body(a, b)
    rest(iter(batches(N)))
    case("optimizer and validation")
    m = keras.Sequential([keras.Input((8,)), L.Dense(1)])
    optimizer = keras.optimizers.Adam()
    loss_of = keras.losses.MeanSquaredError()
    def eager_step(a, b, optimizer):
        with tf.GradientTape() as tape:
            loss = loss_of(b, m(a, training=True))
        gradients = tape.gradient(loss, m.trainable_variables)
        optimizer.apply_gradients(zip(gradients, m.trainable_variables))
        return loss
    train = tf.function(lambda a, b: eager_step(a, b, optimizer))
    test = tf.function(lambda a, b: loss_of(b, m(a)))
    for _ in range(2):
        for a, b in batches(N):
            train(a, b)
        for a, b in batches(9):
            test(a, b)
    case("eager")
    optimizer = keras.optimizers.Adam()
    for a, b in batches(N):
        eager_step(a, b, optimizer)
        spend("pause", 0.005)
    case("two optimizers")
    first, second = keras.optimizers.SGD(), keras.optimizers.SGD()
    discriminator = tf.function(lambda a, b: eager_step(a, b, first))
    generator = tf.function(lambda a, b: eager_step(a, b, second))
    for a, b in batches(N):
        discriminator(a, b)
        generator(a, b)
    case("accumulated gradients")
    @tf.function
    def collect(a, b):
        with tf.GradientTape() as tape:
            loss = loss_of(b, m(a, training=True))
        return tape.gradient(loss, m.trainable_variables)
    total = None
    for number, (a, b) in enumerate(batches(N)):
        gradients = collect(a, b)
        total = gradients if total is None else [p + q for p, q in zip(total, gradients)]
        if number % 4 == 3:
            optimizer.apply_gradients(zip(total, m.trainable_variables))
            total = None
    case("no iterator")
    step = tf.function(step_body)
    for _ in range(N):
        step(tf.constant(x), tf.constant(y))
        spend("pause", 0.005)
    case("forward only")
    forward = tf.function(lambda a: m(a))
    for a, b in batches(N):
        forward(a)
    case("saved model")
    class Loops(tf.Module):
        @tf.function(input_signature=[])
        def run(self):
            total = tf.constant(0.0)
            for element in tf.data.Dataset.range(5):
                total += tf.cast(element, tf.float32)
            return total
    module = Loops()
    module.run()
    import tempfile
    folder = tempfile.mkdtemp()
    tf.saved_model.save(module, folder)
    now["restored"] = float(tf.saved_model.load(folder).run())
    import shutil
    shutil.rmtree(folder)
    case("order")
    # Two stateful ops of the user's keep their order around our clock.
    seen = []
    @tf.function
    def ordered(iterator):
        tf.py_function(lambda: seen.append("before"), [], [])
        next(iterator)
        tf.py_function(lambda: seen.append("after"), [], [])
    iterator = iter(tf.data.Dataset.range(50))
    for _ in range(50):
        ordered(iterator)
    now["seen"] = seen == ["before", "after"] * 50
    finish()
"""


class Run:
    """One process with many loops, and what the script itself says that it did."""

    def __init__(self, body: str, python: str, attempt: int) -> None:
        self.events, self.process = run_script(HEAD + body, python)
        lines = [line for line in self.process.stdout.splitlines() if line[:5] in ("TRUTH", "USER ")]
        results = dict(line.split(maxsplit=1) for line in lines)
        self.truth: dict[str, dict[str, Any]] = json.loads(results.get("TRUTH", "{}"))
        self.user: list[dict[str, Any]] = json.loads(results.get("USER", "[]"))
        self.cases = cases_of(self.events)

    def windows(self, case: str, phase: str = "train") -> list[Event]:
        return of_type(self.cases[case], "steps", phase=phase)

    def total(self, case: str, field: str, phase: str = "train") -> float:
        return float(sum(w[field] for w in self.windows(case, phase)))


_run_of = functools.cache(Run)
"""Body, interpreter, attempt: made once, looked at by many tests."""


def run_of(body: str, request: pytest.FixtureRequest) -> Run:
    run = _run_of(body, request.param, attempt(request))
    assert run.process.returncode == 0, run.process.stderr
    return run


@pytest.fixture(params=PYTHONS)
def keras_run(request: pytest.FixtureRequest) -> Run:
    return run_of(KERAS, request)


@pytest.fixture(params=PYTHONS)
def custom_run(request: pytest.FixtureRequest) -> Run:
    return run_of(CUSTOM, request)


def check_sums(run: Run) -> None:
    """What holds for every window of every loop."""
    assert of_type(run.events, "hook_off") == []
    for phase in ("train", "test", "predict"):
        counted = 0
        for window in of_type(run.events, "steps", phase=phase):
            parts = window["wait_s"] + window["compute_s"] + window["host_s"]
            assert parts == pytest.approx(window["wall_s"], abs=1e-6)
            assert min(window["wait_s"], window["compute_s"], window["host_s"]) >= -1e-9
            assert window["first_step"] == counted + 1
            assert sum(window["periods"].values()) == window["steps"]
            counted += window["steps"]


def check_wait(run: Run, case: str, phase: str = "train", batches_before: int = 0) -> None:
    """The wait is the delay that the script put into its input, as measured by the script: not less (one of 24 steps
    would be missed), hardly more."""
    delay = run.truth[case]["delay"]
    wait = run.total(case, "wait_s", phase)
    steps = run.total(case, "steps", phase)
    assert 0.97 * delay < wait < 1.35 * delay + 0.004 * steps, (case, wait, delay)


def test_keras_windows_add_up(keras_run: Run) -> None:
    check_sums(keras_run)


def test_fit_counts_steps_and_epochs(keras_run: Run) -> None:
    assert keras_run.truth["fit"]["seen"] == [48, 48, 48]
    assert keras_run.total("fit", "steps") == 48
    assert {w["epoch"] for w in keras_run.windows("fit")} == {1, 2}
    epochs = of_type(keras_run.cases["fit"], "epoch")
    assert [(e["state"], e["epoch"], e["epochs"], e["steps"]) for e in epochs] == [
        ("begin", 1, 2, 24),
        ("end", 1, 2, 24),
        ("begin", 2, 2, 24),
        ("end", 2, 2, 24),
    ]
    assert epochs[0]["edge_s"] is None
    assert epochs[2]["edge_s"] > epochs[1]["validation_s"] > 7 * 0.02
    assert epochs[1]["callbacks"]["Slow"] > 0.03
    assert {"loss", "mae", "val_loss", "val_mae"} <= set(epochs[1]["metrics"])
    ends = [(e["phase"], e["stopped"]) for e in of_type(keras_run.cases["fit"], "train_end")]
    assert ends == [("test", None), ("test", None), ("train", None)]


def test_fit_waits_and_its_slow_callback_is_named(keras_run: Run) -> None:
    run = keras_run
    delay, pause = run.truth["fit"]["delay"], run.truth["fit"]["pause"]
    train, test = run.total("fit", "wait_s"), run.total("fit", "wait_s", "test")
    assert 0.9 * delay < train + test < 1.35 * delay + 0.3
    # 48 training batches and 14 of the validations: each phase has its own part.
    assert train / (train + test) == pytest.approx(48 / 62, abs=0.1)
    callbacks = sum(w["callbacks"].get("Slow", 0.0) for w in run.windows("fit"))
    assert pause <= callbacks <= pause * 1.2 + 0.05
    assert callbacks <= run.total("fit", "host_s")
    assert run.truth["fit"]["left"] == []


@pytest.mark.parametrize(("case", "phase"), [("evaluate", "test"), ("predict", "predict")])
def test_evaluate_and_predict_are_phases_of_their_own(keras_run: Run, case: str, phase: str) -> None:
    assert keras_run.total(case, "steps", phase) == 24
    assert {e["phase"] for e in of_type(keras_run.cases[case], "steps")} == {phase}
    check_wait(keras_run, case, phase)


def test_arrays(keras_run: Run) -> None:
    assert keras_run.total("arrays", "steps") == 3 * 4
    assert [e["steps"] for e in of_type(keras_run.cases["arrays"], "epoch", state="end")] == [4, 4, 4]


@pytest.mark.parametrize("case", ["eager", "jit", "subclass", "from_generator"])
def test_other_ways_to_fit(keras_run: Run, case: str) -> None:
    assert keras_run.total(case, "steps") == 24
    if case == "from_generator":  # Keras prefetches what comes from Python: part of the delay is hidden
        assert 0.5 * keras_run.truth[case]["delay"] < keras_run.total(case, "wait_s")
    else:
        check_wait(keras_run, case)


def test_work_in_the_train_step_is_compute(keras_run: Run) -> None:
    work = keras_run.truth["subclass"]["work"]
    assert keras_run.total("subclass", "compute_s") > 0.9 * work


@pytest.mark.parametrize("case", ["generator", "sequence"])
def test_python_input(keras_run: Run, case: str) -> None:
    """Keras makes the next batch while the model computes, so the wait is a little less than the delay."""
    delay = keras_run.truth[case]["delay"]
    assert keras_run.total(case, "steps") == 24
    assert 0.5 * delay < keras_run.total(case, "wait_s") < 1.35 * delay + 0.1


def test_the_users_own_python_is_timed(keras_run: Run) -> None:
    found = {(u["name"], u["kind"]): u for u in keras_run.user}
    assert set(found) == {("generate", "generator"), ("Sequence.__getitem__", "getitem")}
    delay = keras_run.truth["generator"]["delay"] + keras_run.truth["from_generator"]["delay"]
    generate = found["generate", "generator"]
    assert generate["seconds"] == pytest.approx(delay, rel=0.2)
    assert generate["calls"] == 48
    assert generate["file"].endswith("train.py")
    assert generate["elements"] == [{"dtype": "float32", "shape": [32, 8]}, {"dtype": "float32", "shape": [32, 1]}]


def test_steps_per_execution_counts_steps_and_knows_their_wait(keras_run: Run) -> None:
    assert keras_run.truth["spe"]["seen"] == 50
    assert keras_run.total("spe", "steps") == 50
    assert keras_run.total("spe", "executions") == 6
    assert not any(w["wait_bound"] for w in keras_run.windows("spe"))
    check_wait(keras_run, "spe")


def test_a_fit_that_failed_is_over(keras_run: Run) -> None:
    """A callback after its tenth step raised: ten were done. What comes after it is counted as if it had never been."""
    assert keras_run.total("failed", "steps") == 10
    assert keras_run.total("train_on_batch", "steps") == 24


def test_train_on_batch(keras_run: Run) -> None:
    assert {w["loop"] for w in keras_run.windows("train_on_batch")} == {"train_on_batch"}
    check_wait(keras_run, "train_on_batch")
    pause = keras_run.truth["train_on_batch"]["pause"]
    assert 0.8 * pause < keras_run.total("train_on_batch", "host_s") < 1.5 * pause + 0.1


def test_custom_windows_add_up(custom_run: Run) -> None:
    check_sums(custom_run)


@pytest.mark.parametrize(
    "case", ["for", "next in function", "loop in function", "for in function", "iterator in function"]
)
def test_custom_loops(custom_run: Run, case: str) -> None:
    assert custom_run.total(case, "steps") == 24
    assert {w["loop"] for w in custom_run.windows(case)} == {"custom"}
    check_wait(custom_run, case)
    work = custom_run.truth[case]["work"]
    assert custom_run.total(case, "compute_s") > 0.9 * work
    assert not all(w["warmup"] for w in custom_run.windows(case)), "all of it was warm-up"


def test_pauses_of_a_custom_loop_are_the_hosts(custom_run: Run) -> None:
    pause = custom_run.truth["for"]["pause"]
    assert 0.8 * pause < custom_run.total("for", "host_s") < 1.5 * pause + 0.1


def test_validation_of_a_custom_loop_is_no_training(custom_run: Run) -> None:
    case = "optimizer and validation"
    assert custom_run.total(case, "steps") == 48
    assert custom_run.total(case, "steps", "test") == 18
    trained, tested = (custom_run.total(case, "wait_s", phase) for phase in ("train", "test"))
    assert trained + tested >= 0.97 * custom_run.truth[case]["delay"]
    assert trained / (trained + tested) == pytest.approx(48 / 66, abs=0.15)


def test_eager_loop(custom_run: Run) -> None:
    assert custom_run.total("eager", "steps") == 24
    assert {w["loop"] for w in custom_run.windows("eager")} == {"eager"}
    check_wait(custom_run, "eager")
    assert custom_run.total("eager", "host_s") > 0.8 * custom_run.truth["eager"]["pause"]


def test_two_optimizers_on_one_batch_are_one_step(custom_run: Run) -> None:
    assert custom_run.total("two optimizers", "steps") == 24
    check_wait(custom_run, "two optimizers")


def test_accumulated_gradients(custom_run: Run) -> None:
    """The function that takes the gradients is seen before the optimizer: each batch counts, and no time is lost."""
    assert custom_run.total("accumulated gradients", "steps") == 24
    check_wait(custom_run, "accumulated gradients")


def test_loop_without_an_iterator(custom_run: Run) -> None:
    assert custom_run.total("no iterator", "steps") == 24
    assert custom_run.total("no iterator", "wait_s") == 0
    assert custom_run.total("no iterator", "compute_s") > 0.9 * custom_run.truth["no iterator"]["work"]


def test_a_loop_that_takes_no_gradients_is_no_training(custom_run: Run) -> None:
    assert custom_run.windows("forward only") == []
    assert custom_run.total("forward only", "steps", "test") >= 23


def test_a_module_that_loops_over_a_dataset_can_be_saved(custom_run: Run) -> None:
    assert custom_run.truth["saved model"]["restored"] == 10.0


def test_the_users_stateful_ops_keep_their_order(custom_run: Run) -> None:
    assert custom_run.truth["order"]["seen"] is True
