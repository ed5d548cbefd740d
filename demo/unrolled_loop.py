"""A Python loop over the rows of an image inside a layer: tracing unrolls it, a copy of the cell for each row.

tfgpu-tui demo/unrolled_loop.py          # the loop is in Python
tfgpu-tui demo/unrolled_loop.py 2 rnn    # the same cell in keras.layers.RNN: the loop is part of the graph
"""

import sys

import keras
import tensorflow as tf
from digits import image_files

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
IN_GRAPH = "rnn" in sys.argv
ROWS = 32


def load_image(path, label):
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    return tf.ensure_shape(tf.cast(image[..., 0], tf.float32) / 255.0, (ROWS, ROWS)), label


@keras.saving.register_keras_serializable("demo")
class Reader(keras.Model):
    def __init__(self):
        super().__init__()
        self.cell = keras.layers.GRUCell(32)
        self.rnn = keras.layers.RNN(self.cell)
        self.digit = keras.layers.Dense(10)

    def call(self, rows):
        if IN_GRAPH:
            return self.digit(self.rnn(rows))
        state = tf.zeros((tf.shape(rows)[0], 32))
        for row in range(ROWS):
            output, state = self.cell(rows[:, row], state)
        return self.digit(output)


files, labels = image_files()
dataset = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(load_image, num_parallel_calls=tf.data.AUTOTUNE)
    .cache()
    .batch(64)
    .prefetch(tf.data.AUTOTUNE)
)
model = Reader()
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(dataset, epochs=EPOCHS)
