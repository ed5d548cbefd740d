"""Family F: the computation itself takes longer than it needs to (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.diagnose.compute import LONG_TRACE_S, TOLD_S
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE
from tfgpu_tui.diagnose.register.entry import SHARES, Entry, Limit

ENTRIES = (
    Entry(
        id="compute.unrolled",
        means="a Python loop was unrolled into a huge graph",
        seen="""The first step, or the only one, takes seconds or minutes; steps after it are quick. The finding names
        the loop and says how many copies of its operations the graph holds. Host memory grows by the graph.""",
        why="""Inside a tf.function, and inside a layer's call, Python runs once: while TensorFlow traces. A Python loop
        (range, a list, a generator) runs to its end then, and each turn leaves a copy of its operations in the graph,
        forward and backward. Tracing, optimising and starting such a graph takes time by its size, twice where
        variables are made.

        AutoGraph makes a loop of the graph only where the loop goes over a tensor (tf.range) or a tf.data dataset.
        A generator or a list of NumPy batches is unrolled: then the whole training is one call of one graph.""",
        signal="""A graph that is large and took long to trace is looked at once: a sample of its operations says at
        which line it was made, and the file says which loop is around that line. Copies are operations that read the
        same weight at the same place; a loop over the layers of a model reads other weights in each turn and is not
        meant. The time is that of tracing alone: optimising the graph, before it first runs, takes about as long
        again.""",
        steps=(
            """Put @tf.function on one training step, and leave the loop outside of it:
            | @tf.function
            | def train_step(x, y): …
            | for x, y in batches:
            |     train_step(x, y)""",
            """Let the loop be part of the graph:
            | for i in tf.range(length):
            |     output, state = self.cell(x[:, i], state)""",
            """Or use a layer that is such a loop:
            | keras.layers.RNN(cell)""",
            "Compute all turns at once where they don't depend on each other: one tensor with one more axis.",
        ),
        harmless="""In a long run with one graph: the time is spent once. Some loops are unrolled on purpose
        (unroll=True), since short ones then run faster.""",
        limits=(
            Limit("from {} of tracing on", LONG_TRACE_S, units.duration),
            Limit("a warning from {} of the run's time", WARNING_SHARE, units.share),
            Limit("critical from {} of it", CRITICAL_SHARE, units.share),
            Limit("below that information, from {} of tracing on", TOLD_S, units.duration),
        ),
        demo="demo/unrolled_loop.py",
    ),
    Entry(
        id="compute.python",
        means="Python functions run inside the step's graph",
        seen="""Compute is most of the step, and no layer is large enough to explain it. The finding names the function,
        its file and line, and its time a step.""",
        why="""tf.py_function, tf.numpy_function and tf.py_func put an operation into the graph that comes back to
        Python: in a metric, a loss or a layer. The step waits for it, it needs the interpreter's lock, which the input
        pipeline's Python and callbacks want too, it runs on one core, and on a GPU machine its arguments are copied to
        the host first, which waits for all that was queued on the GPU.

        tf.py_function is slower than tf.numpy_function: each operation in it is started by itself, eagerly, and its
        gradient is another such call. XLA compiles no graph that holds either.""",
        signal="""Each call is timed where TensorFlow comes back to Python, and told by function, for those that are put
        into a graph outside of the input pipeline (those inside it are input.python). The share is that time by the
        step's time; a call that runs beside other operations of the step counts in full.""",
        steps=(
            """Write it with TensorFlow's operations, or take Keras' own:
            | keras.metrics.AUC(), keras.metrics.MeanIoU(num_classes=5)""",
            """A metric that can't be written so: once an epoch, in a callback.
            | def on_epoch_end(self, epoch, logs=None):
            |     guess = self.model.predict(x_val, verbose=0)""",
            "What prepares data belongs into the input pipeline, where it runs beside the step.",
        ),
        harmless="Below the limit.",
        limits=SHARES,
        demo="demo/python_metric.py",
    ),
)
