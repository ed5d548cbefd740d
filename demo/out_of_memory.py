"""A layer that is too wide: its weights alone need 4 TiB, on a GPU as on a CPU.

tfgpu-tui demo/out_of_memory.py
"""

import keras
import tensorflow as tf
from digits import image_files

image = tf.io.decode_png(tf.io.read_file(image_files()[0][0]), channels=1)
flat = tf.reshape(tf.cast(image, tf.float32), (1, -1))
wide = keras.layers.Dense(1 << 30, name="wide")
wide(flat)
