"""The reason of an exception, found in the messages that TensorFlow and Keras write around it."""

from __future__ import annotations

import pytest

from tfgpu_tui.diagnose.error_words import headline

IN_USER_CODE = """in user code:

    File "/home/u/train.py", line 7, in step  *
        y = loss(x)
    File "/home/u/train.py", line 3, in loss  *
        return tf.matmul(x, tf.ones((3, 3)))

    ValueError: Dimensions must be equal, but are 2 and 3.
"""
IN_A_GRAPH = """Graph execution error:

Detected at node sequential_1/embedding_1/GatherV2 defined at (most recent call last):
  File "/home/u/train.py", line 5, in <module>

  File "/usr/lib/python3.11/site-packages/keras/src/backend/tensorflow/numpy.py", line 3095, in take

indices[0,0] = 156 is not in [0, 100)
\t [[{{node sequential_1/embedding_1/GatherV2}}]] [Op:__inference_multi_step_on_iterator_500]"""
IN_A_GRAPH_2_15 = """Graph execution error:

Detected at node 'MatMul' defined at (most recent call last):
    File "/home/u/train.py", line 5, in <module>
      m.fit(x, y)
Node: 'MatMul'
2 root error(s) found.
  (0) INVALID_ARGUMENT:  Matrix size-incompatible: In[0]: [2,3], In[1]: [4,5]
\t [[{{node MatMul}}]]
  (1) CANCELLED:  x"""
IN_PYTHON = """Graph execution error:

Detected at node PyFunc defined at (most recent call last):
<stack traces unavailable>
TypeError: `generator` yielded an element of shape (5,) where an element of shape (4,) was expected.
Traceback (most recent call last):

  File "/usr/lib/python3.11/site-packages/tensorflow/python/ops/script_ops.py", line 269, in __call__
    ret = func(*args)

TypeError: `generator` yielded an element of shape (5,) where an element of shape (4,) was expected.


\t [[{{node PyFunc}}]]"""
IN_A_LAYER = """Exception encountered when calling L.call().

\x1b[1mCould not automatically infer the output shape. Error encountered:

Dimensions must be equal, but are 4 and 3 for '{{node add}} = AddV2[T=DT_FLOAT](Placeholder, ones)'.\x1b[0m

Arguments received by L.call():
  • args=('<KerasTensor shape=(None, 4)>',)"""
IN_A_LAYER_OF_KERAS_2 = """Exception encountered when calling layer "l" (type L).

module 'keras' has no attribute 'ops'

Call arguments received by layer "l" (type L):
  • x=tf.Tensor(shape=(None, 4), dtype=float32)"""

IN_A_LAYER_THAT_IS_TRACED = """in user code:

    File "/home/u/train.py", line 25, in step  *
        return net(x)
    File "/usr/lib/python3.11/site-packages/keras/src/utils/traceback_utils.py", line 122, in error_handler  **
        raise e.with_traceback(filtered_tb) from None
    File "/home/u/train.py", line 8, in call
        return tf.no_such_function(x)

    AttributeError: Exception encountered when calling Broken.call().
    
    \x1b[1mmodule 'tensorflow' has no attribute 'no_such_function'\x1b[0m
    
    Arguments received by Broken.call():
      • x=tf.Tensor(shape=(2, 3), dtype=float32)
"""
IN_A_LAYER_OF_A_MODEL_OF_KERAS_2 = """Exception encountered when calling layer 'net' (type Net).

in user code:

    File "/home/u/train.py", line 17, in call  *
        return self.inner(x)
    File "/usr/lib/python3.11/site-packages/keras/src/utils/traceback_utils.py", line 70, in error_handler  **
        raise e.with_traceback(filtered_tb) from None

    AttributeError: Exception encountered when calling layer 'broken' (type Broken).
    
    in user code:
    
        File "/home/u/train.py", line 8, in call  *
            return tf.no_such_function(x)
    
        AttributeError: module 'tensorflow' has no attribute 'no_such_function'
    
    
    Call arguments received by layer 'broken' (type Broken):
      • x=tf.Tensor(shape=(2, 3), dtype=float32)


Call arguments received by layer 'net' (type Net):
  • x=tf.Tensor(shape=(2, 3), dtype=float32)"""


@pytest.mark.parametrize(
    ("exception", "message", "told"),
    [
        (
            "AttributeError",
            IN_A_LAYER_THAT_IS_TRACED,
            "AttributeError: module 'tensorflow' has no attribute 'no_such_function'",
        ),
        (
            "AttributeError",
            IN_A_LAYER_OF_A_MODEL_OF_KERAS_2,
            "AttributeError: module 'tensorflow' has no attribute 'no_such_function'",
        ),
        ("ValueError", IN_USER_CODE, "ValueError: Dimensions must be equal, but are 2 and 3."),
        ("InvalidArgumentError", IN_A_GRAPH, "InvalidArgumentError: indices[0,0] = 156 is not in [0, 100)"),
        (
            "InvalidArgumentError",
            IN_A_GRAPH_2_15,
            "InvalidArgumentError: Matrix size-incompatible: In[0]: [2,3], In[1]: [4,5]",
        ),
        (
            "InvalidArgumentError",
            IN_PYTHON,
            "InvalidArgumentError: TypeError: `generator` yielded an element of shape (5,) where an element of shape "
            "(4,) was expected.",
        ),
        (
            "ValueError",
            IN_A_LAYER,
            "ValueError: Dimensions must be equal, but are 4 and 3 for '{{node add}} = "
            "AddV2[T=DT_FLOAT](Placeholder, ones)'.",
        ),
        ("AttributeError", IN_A_LAYER_OF_KERAS_2, "AttributeError: module 'keras' has no attribute 'ops'"),
        (
            "InvalidArgumentError",
            "{{function_node __wrapped__IteratorGetNext_device_/job:localhost/device:CPU:0}} Unknown image file "
            "format.\n\t [[{{node DecodeJpeg}}]] [Op:IteratorGetNext] name: ",
            "InvalidArgumentError: Unknown image file format.",
        ),
        ("ValueError", "bad shape\nmore", "ValueError: bad shape"),
        ("KeyboardInterrupt", "", "KeyboardInterrupt"),
        ("InvalidArgumentError", "Graph execution error:\n", "InvalidArgumentError: Graph execution error:"),
        ("ValueError", "in user code:", "ValueError: in user code:"),
    ],
)
def test_the_reason_stands_in_the_title(exception: str, message: str, told: str) -> None:
    assert headline(exception, message) == told
