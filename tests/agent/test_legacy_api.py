"""Each old name that the monitor knows, tried on the installed TensorFlow and Keras: what they say is recognised."""

from __future__ import annotations

import json
import sys

import pytest

from tfgpu_tui.core.events import ScriptError
from tfgpu_tui.diagnose.legacy_api import today

from .conftest import run_script

TRIES = """
tf.placeholder
tf.Session
tf.ConfigProto
tf.GPUOptions
tf.get_variable
tf.variable_scope
tf.global_variables_initializer
tf.reset_default_graph
tf.set_random_seed
tf.random_normal
tf.to_float
tf.log
tf.app
tf.flags
tf.gfile
tf.logging
tf.layers
tf.contrib
tf.enable_eager_execution
tf.train.AdamOptimizer
tf.train.GradientDescentOptimizer
tf.train.Saver
tf.nn.rnn_cell
tf.nn.static_rnn
tf.estimator
tf.data.Dataset.range(1).make_one_shot_iterator()
keras.optimizers.Adam(lr=0.1)
keras.layers.CuDNNLSTM
tf.keras.backend.get_session
tf.keras.utils.multi_gpu_model
model.fit_generator(x)
model.evaluate_generator(x)
model.predict_generator(x)
model.predict_classes(x)
model.predict_proba(x)
model.fit(x, x, workers=2)
model.fit(x, x, use_multiprocessing=True)
model.fit(x, x, nb_epoch=2)
model.save("folder")
model.save_weights("w")
tf.reduce_mean(keras.Input((2,)))
keras.layers.Dense(3, init="uniform")
keras.layers.Conv2D(3, 3, border_mode="same")
keras.callbacks.ModelCheckpoint("a.keras", period=2)
from keras.utils import np_utils
from keras.utils.np_utils import to_categorical
from keras.layers.convolutional import Conv2D
from keras.layers.core import Dense
from keras.layers.normalization import BatchNormalization
from keras.layers.recurrent import LSTM
from keras.layers.advanced_activations import LeakyReLU
from keras.layers.merge import concatenate
from keras.layers.embeddings import Embedding
from keras.layers.wrappers import TimeDistributed
from keras.engine.topology import Layer
from keras.preprocessing.image import ImageDataGenerator
from keras.preprocessing.text import Tokenizer
from keras.utils import multi_gpu_model
from keras.wrappers.scikit_learn import KerasClassifier
from keras.backend.tensorflow_backend import set_session
from keras.layers.experimental import preprocessing
from keras.models import model_from_yaml
from tensorflow.contrib import rnn
from tensorflow.examples.tutorials.mnist import input_data
from tensorflow.keras.layers.experimental import preprocessing
from tensorflow.keras.wrappers.scikit_learn import KerasClassifier
tf.train.Server
keras.backend.Variable
keras.preprocessing.sequence.TimeseriesGenerator
keras.metrics.Mean().reset_states()
model.reset_states()
keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()).get_scaled_loss(1.0)
keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()).get_unscaled_gradients([1.0])
keras.callbacks.ModelCheckpoint("m.hdf5")
keras.callbacks.ModelCheckpoint("m.h5", save_weights_only=True)
keras.optimizers.legacy.Adam()
"""

SCRIPT = """
    import json, sys
    import keras, numpy as np, tensorflow as tf
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 2))
    said = {}
    for line in json.loads(sys.argv[1]):
        try:
            exec(line)
            said[line] = None
        except Exception as error:
            said[line] = [type(error).__name__, str(error)]
    print("SAID " + json.dumps([keras.__version__, said]))
"""

# Gone with Keras 3 only: in Keras 2 these work, or fail of something else than their name (such as the data here).
STILL_IN_KERAS_2 = """
tf.estimator
keras.optimizers.Adam(lr=0.1)
model.fit_generator(x)
model.evaluate_generator(x)
model.predict_generator(x)
model.fit(x, x, workers=2)
model.fit(x, x, use_multiprocessing=True)
model.save("folder")
model.save_weights("w")
tf.reduce_mean(keras.Input((2,)))
keras.callbacks.ModelCheckpoint("a.keras", period=2)
from keras.preprocessing.image import ImageDataGenerator
from keras.preprocessing.text import Tokenizer
from keras.layers.experimental import preprocessing
from keras.models import model_from_yaml
from tensorflow.keras.layers.experimental import preprocessing
keras.preprocessing.sequence.TimeseriesGenerator
keras.metrics.Mean().reset_states()
model.reset_states()
keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()).get_scaled_loss(1.0)
keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()).get_unscaled_gradients([1.0])
keras.callbacks.ModelCheckpoint("m.hdf5")
keras.callbacks.ModelCheckpoint("m.h5", save_weights_only=True)
keras.optimizers.legacy.Adam()
"""


def test_every_known_name_is_recognised_in_the_words_of_the_installed_version() -> None:
    lines = TRIES.strip().split("\n")
    # tf.keras as this version has it, also where the tests run with tf_keras in its place.
    environment = {"TF_USE_LEGACY_KERAS": None}
    _, process = run_script(SCRIPT, sys.executable, [json.dumps(lines)], agent=False, environment=environment)
    assert process.returncode == 0, process.stderr[-2000:]
    version, said = json.loads(process.stdout.rpartition("SAID ")[2])
    unknown = [
        line
        for line, answer in said.items()
        if answer is None or today(ScriptError(t=0.0, exception=answer[0], message=answer[1])) is None
    ]
    if version.startswith("2."):
        assert unknown == STILL_IN_KERAS_2.strip().split("\n")
        return
    if all(answer is None for answer in said.values()):
        pytest.fail("nothing of this is gone: not the Keras that this list is for")
    assert [(line, said[line]) for line in unknown] == []
