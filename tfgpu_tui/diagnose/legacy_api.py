"""Family F: names of TensorFlow 1 and old Keras that are gone, with today's call written out (pure).

The exceptions are those of TensorFlow 2.21 with Keras 3.15, and of 2.15 with Keras 2.15; a test raises each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfgpu_tui.core.events import ScriptError
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding

_FIT = "model.fit({0}): generators, PyDatasets and tf.data datasets go in as they are"
_FLAT = "from keras.layers import {0}: all layers live there now"
_PYDATASET = "PyDataset.__init__(workers=4, use_multiprocessing=True, max_queue_size=10) of the data, not fit"
_PREPROCESS = "keras.layers: Rescaling, Resizing, RandomFlip, TextVectorization, … left the folder experimental"
_OPTIMIZER = (
    "keras.optimizers.{0}(learning_rate=…) with model.compile, or optimizer.apply_gradients in a tf.GradientTape loop"
)
_SESSION = "no session: call a tf.function; its result is the value"
_SCIKERAS = "pip install scikeras; from scikeras.wrappers import KerasClassifier, KerasRegressor"
_IN_TF_KERAS = "from tensorflow.keras.preprocessing.{0} import {1}: there it still is; for new code {2}"
_IMAGES = "keras.utils.image_dataset_from_directory(…) with layers such as keras.layers.RandomFlip"
_SCALED = "optimizer.{0}: keras.mixed_precision.LossScaleOptimizer does the rest when it applies the gradients"
_WEIGHTS = "model.save_weights('x.weights.h5')"

TODAY: dict[str, str] = {
    # TensorFlow 1
    "placeholder": "a tf.function's argument, or keras.Input(shape=…)",
    "Session": _SESSION,
    "InteractiveSession": _SESSION,
    "ConfigProto": "tf.config.set_soft_device_placement(True), tf.config.threading.…, or tf.config.experimental.…",
    "GPUOptions": "tf.config.experimental.set_memory_growth(gpu, True)",
    "get_variable": "tf.Variable(…), or self.add_weight(…) in a keras.layers.Layer",
    "variable_scope": "variables belong to objects: keep them as attributes of a tf.Module or a layer",
    "global_variables_initializer": "nothing: a tf.Variable has its value once it is made",
    "local_variables_initializer": "nothing: a tf.Variable has its value once it is made",
    "get_default_graph": "tf.function: each one has its own graph",
    "reset_default_graph": "keras.utils.clear_session()",
    "set_random_seed": "tf.random.set_seed(1), or keras.utils.set_random_seed(1) for Python and NumPy, too",
    "random_normal": "tf.random.normal(shape)",
    "random_uniform": "tf.random.uniform(shape)",
    "truncated_normal": "tf.random.truncated_normal(shape)",
    "to_float": "tf.cast(x, tf.float32)",
    "to_int32": "tf.cast(x, tf.int32)",
    "log": "tf.math.log(x)",
    "app": "call main() yourself, or absl.app.run(main)",
    "flags": "argparse, or absl.flags",
    "gfile": "tf.io.gfile",
    "logging": "tf.get_logger(), or Python's logging",
    "layers": "keras.layers",
    "contrib": "gone: the parts live in keras, TensorFlow itself and tensorflow-probability",
    "tensorflow.contrib": "gone: the parts live in keras, TensorFlow itself and tensorflow-probability",
    "tensorflow.examples": "keras.datasets.mnist.load_data()",
    "enable_eager_execution": "nothing: eager is the default",
    "AdamOptimizer": _OPTIMIZER.format("Adam"),
    "GradientDescentOptimizer": _OPTIMIZER.format("SGD"),
    "RMSPropOptimizer": _OPTIMIZER.format("RMSprop"),
    "MomentumOptimizer": "keras.optimizers.SGD(learning_rate=…, momentum=0.9) with model.compile",
    "Server": "tf.distribute.Server(cluster, job_name=…, task_index=…); a tf.distribute strategy starts its own",
    "Saver": "model.save('model.keras'), or tf.train.Checkpoint(model=model).save(path)",
    "mean_squared_error": "keras.losses.MeanSquaredError()(y, predicted)",
    "sparse_softmax_cross_entropy": "keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, logits)",
    "softmax_cross_entropy": "keras.losses.CategoricalCrossentropy(from_logits=True)(y, logits)",
    "rnn_cell": "keras.layers.RNN(keras.layers.LSTMCell(units)), or keras.layers.LSTM(units)",
    "static_rnn": "keras.layers.RNN(cell)",
    "dynamic_rnn": "keras.layers.RNN(cell)",
    "make_one_shot_iterator": "iter(dataset), or `for batch in dataset`",
    "make_initializable_iterator": "iter(dataset), or `for batch in dataset`",
    "estimator": "a keras.Model with fit",
    # Keras
    "fit_generator": _FIT.format("generator"),
    "evaluate_generator": "model.evaluate(generator)",
    "predict_generator": "model.predict(generator)",
    "predict_classes": "model.predict(x).argmax(axis=-1), or (model.predict(x) > 0.5).astype(int) for one output",
    "predict_proba": "model.predict(x)",
    "CuDNNLSTM": "keras.layers.LSTM(units): it takes cuDNN's kernel by itself with its default arguments",
    "CuDNNGRU": "keras.layers.GRU(units): it takes cuDNN's kernel by itself with its default arguments",
    "experimental": _PREPROCESS,
    "keras.layers.experimental": _PREPROCESS,
    "set_session": _SESSION,
    "get_session": _SESSION,
    "multi_gpu_model": "with tf.distribute.MirroredStrategy().scope(): build and compile the model",
    "scikit_learn": _SCIKERAS,
    "keras.wrappers.scikit_learn": _SCIKERAS,
    "keras.wrappers": _SCIKERAS,
    "np_utils": "keras.utils.to_categorical(y, classes)",
    "keras.utils.np_utils": "keras.utils.to_categorical(y, classes)",
    "keras.utils.vis_utils": "keras.utils.plot_model(model)",
    "keras.utils.generic_utils": "keras.utils.get_custom_objects(), keras.utils.custom_object_scope(…)",
    "keras.layers.convolutional": _FLAT.format("Conv2D"),
    "keras.layers.core": _FLAT.format("Dense, Dropout"),
    "keras.layers.normalization": _FLAT.format("BatchNormalization"),
    "keras.layers.recurrent": _FLAT.format("LSTM, GRU"),
    "keras.layers.advanced_activations": _FLAT.format("LeakyReLU, PReLU"),
    "keras.layers.merge": _FLAT.format("Concatenate, Add"),
    "keras.layers.embeddings": _FLAT.format("Embedding"),
    "keras.layers.wrappers": _FLAT.format("TimeDistributed, Bidirectional"),
    "keras.layers.pooling": _FLAT.format("MaxPooling2D"),
    "keras.engine": "from keras.layers import Layer; from keras import Model, Input",
    "keras.backend.tensorflow_backend": _SESSION,
    "ImageDataGenerator": _IN_TF_KERAS.format("image", "ImageDataGenerator", _IMAGES),
    "TimeseriesGenerator": _IN_TF_KERAS.format(
        "sequence", "TimeseriesGenerator", "keras.utils.timeseries_dataset_from_array(…)"
    ),
    "keras.preprocessing.text": _IN_TF_KERAS.format("text", "Tokenizer", "keras.layers.TextVectorization"),
    "reset_states": "reset_state() of a metric; of a model, reset_state() of each stateful layer in model.layers",
    "get_scaled_loss": _SCALED.format("scale_loss(loss)"),
    "get_unscaled_gradients": _SCALED.format("apply(gradients, variables) with the scaled ones"),
    "Variable": "keras.Variable(value), or tf.Variable(value)",
    "model_from_yaml": "keras.models.model_from_json(text)",
    "adam": "from keras.optimizers import Adam",
    "sgd": "from keras.optimizers import SGD",
    "mean": "keras.ops.mean(x): keras.ops has what keras.backend had",
    "objectives": "keras.losses",
}
"""A name that is gone (or a module's path) -> what to write today."""

MOVED = frozenset(("ImageDataGenerator", "TimeseriesGenerator", "Variable", "mean"))
"""Names that are gone from one module only: told with the module."""

ARGUMENTS: dict[str, str] = {
    "workers": _PYDATASET,
    "use_multiprocessing": _PYDATASET,
    "max_queue_size": _PYDATASET,
    "nb_epoch": "epochs=…",
    "samples_per_epoch": "steps_per_epoch=…",
    "lr": "learning_rate=…",
    "period": "save_freq='epoch', or save_freq=steps",
    "weights": "layer.set_weights(…) after it is built, or embeddings_initializer=keras.initializers.Constant(matrix)",
    "init": "kernel_initializer=…",
    "border_mode": "padding=…",
    "subsample": "strides=…",
}
"""An argument that is gone -> what to write today."""

TEXTS: dict[str, tuple[str, str]] = {
    "Invalid filepath extension for saving": (
        "saving a model to a folder",
        "model.save('model.keras'); model.export(folder) for a SavedModel to serve",
    ),
    "The filename must end in `.weights.h5`": ("save_weights with this name", _WEIGHTS),
    "the filepath provided must end in `.weights.h5`": (
        "ModelCheckpoint of weights with this name",
        "ModelCheckpoint('x.weights.h5', save_weights_only=True)",
    ),
    "The filepath provided must end in `.keras`": (
        "ModelCheckpoint with this name",
        "ModelCheckpoint('x.keras'); its name may hold {epoch} and metrics before that",
    ),
    "`keras.optimizers.legacy` is not supported": ("keras.optimizers.legacy", "keras.optimizers.Adam, SGD, …"),
    "A KerasTensor cannot be used as input to a TensorFlow function": (
        "a TensorFlow function on keras.Input",
        "the same function of keras.ops, or the call within a layer's call() or keras.layers.Lambda",
    ),
}
"""Words of an exception -> (what is gone, what to write today)."""

_OURS = r"(?:tensorflow|keras|tf_keras)[\w.]*"
_NAMES = (
    re.compile(rf"module '(?P<module>{_OURS})' has no attribute '(?P<name>\w+)'"),
    re.compile(rf"cannot import name '(?P<name>\w+)' from '(?P<module>{_OURS})'"),
)
_ON_OBJECT = re.compile(r"'\w+' object has no attribute '(\w+)'")
_METHODS = ("fit_generator", "evaluate_generator", "predict_generator", "predict_classes", "predict_proba",
            "make_one_shot_iterator", "make_initializable_iterator", "reset_states", "get_scaled_loss",
            "get_unscaled_gradients")  # fmt: skip
_MODULE = re.compile(rf"No module named '({_OURS})'")
_ARGUMENT = (
    re.compile(
        r"(?:fit|evaluate|predict|compile|ModelCheckpoint\.__init__)\(\) got an unexpected keyword argument '(\w+)'"
    ),
    re.compile(r"Argument\(s\) not recognized: \{'(\w+)'"),
    re.compile(r"Unrecognized keyword arguments passed to \w+: \{'(\w+)'"),
    re.compile(r"Keyword argument not understood:', '(\w+)'"),
)


def today(error: ScriptError) -> tuple[str, str] | None:
    """(what is gone, what to write today); None where the exception is of another kind, or of a name not known here."""
    text = error.message
    for words, answer in TEXTS.items():
        if words in text:
            return answer
    if found := _MODULE.search(text):
        path = found[1].replace("tensorflow.keras", "keras").replace("tf_keras", "keras")
        return (f"the module {found[1]}", TODAY[path]) if path in TODAY else None
    for pattern in _NAMES:
        if (found := pattern.search(text)) and found["name"] in TODAY:
            name = found["name"]
            return (f"{found['module']}.{name}" if name in MOVED else name), TODAY[name]
    if (found := _ON_OBJECT.search(text)) and found[1] in _METHODS:
        return found[1], TODAY[found[1]]
    for pattern in _ARGUMENT:
        if (found := pattern.search(text)) and found[1] in ARGUMENTS:
            return f"the argument {found[1]}", ARGUMENTS[found[1]]
    return None


def legacy_finding(state: RunState) -> Finding | None:
    """run.legacy_api of a script that failed; None where it failed of something else."""
    error = state.error
    found = today(error) if error is not None else None
    if error is None or found is None:
        return None
    gone, write = found
    place = state.places.at(error.file, error.line) if error.file else "the output's traceback"
    return Finding(
        id="run.legacy_api",
        severity="critical",
        title=f"The script uses what this TensorFlow no longer has: {gone}",
        lines=[f"{error.exception} at {place}: {error.message.strip().splitlines()[0][:200]}"],
        next=f"At {place} write {write}.",
        evidence={
            "name": gone,
            "today": write,
            "exception": error.exception,
            "file": error.file,
            "line": error.line,
            "exit_code": state.ended.exit_code if state.ended else None,
            "tensorflow": state.environment.tensorflow,
            "keras": state.environment.keras,
        },
    )


def findings(state: RunState) -> Iterator[Finding]:
    """run.legacy_api, once the script has failed of it."""
    ended = state.ended
    found = legacy_finding(state) if ended is not None and ended.exit_code else None
    if found is not None:
        yield found
