"""Family F: the computation itself takes longer than it needs to (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.diagnose.compute import COLLECTIVES_SHARE, LONG_TRACE_S, TOLD_S
from tfgpu_tui.diagnose.compute_inside import LEAST_TURNS, MANY_OPS, RARE, SMALL_ELEMENTS
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE
from tfgpu_tui.diagnose.register.entry import JUDGED, SHARES, Entry, Limit

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
    Entry(
        id="compute.layer",
        means="one layer takes most of the step, for a reason that shows",
        seen="""Compute is most of the step, and the split of compute (step pane, report.json) has one layer far ahead
        of the others, often one without any weights: an augmentation, a custom layer.""",
        why="""TensorFlow's operations work on a whole batch at once. tf.map_fn, a loop over a tensor in AutoGraph, and
        tf.vectorized_map where an operation has no vectorised form put a loop into the graph that turns once for each
        example: each turn starts each of its operations again, on one example, and so does the backward pass.

        The other reason is order: a convolution is computed with channels last on a CPU, and in the order that cuDNN
        wants on a GPU. Where the model has the other one, TensorFlow's layout optimizer puts transpositions around it,
        which copy all data.

        A recurrent layer that does without cuDNN's kernel is rnn.not_cudnn; operations that have no GPU kernel are
        place.no_gpu_kernel. That a layer takes most of a step is no fault by itself, and not told.""",
        signal="""A look inside some steps with TensorFlow's profiler. A loop is told where it turns as often in a step
        as the batch has examples, in a layer that is none of Keras' recurrent ones; cheap operations in it leave no
        event of their own, only the number of the turn, and their time counts for the layer whose operation comes next.
        Transpositions are those that carry the layout optimizer's name. A loop over something else that is as long as
        the batch would be told, too. Where nothing looked (a headless run, a short one), a loop in the layer's graph is
        information, for how often it turns and how long it takes is not known.""",
        steps=(
            """Write the layer for the whole batch, with one more axis:
            | factor = tf.random.uniform([tf.shape(x)[0], 1, 1, 1], 0.8, 1.2)
            | x = (x - middle) * factor + middle
            | # in place of tf.map_fn(change_one, x)""",
            """Or take Keras' own layer for it (keras.layers.RandomContrast and others work on batches).""",
            """Or move it into the input pipeline, where it runs beside the step, on other cores:
            | dataset.map(change_one, num_parallel_calls=tf.data.AUTOTUNE)""",
            """Data in another order: take the device's own.
            | keras.layers.Conv2D(32, 3, data_format="channels_last")""",
        ),
        harmless="Below the limit; and a loop whose turns depend on each other can't be written otherwise.",
        limits=(*SHARES, Limit("a loop counts from {} turns a step on", LEAST_TURNS)),
        demo="demo/one_by_one.py",
    ),
    Entry(
        id="compute.optimizer",
        means="most of the step is the optimizer's update, avoidably",
        seen="""Compute is most of the step, and most of compute is "optimizer": more than forward and backward.""",
        why="""The gradient of an embedding names the rows that were looked up. SGD without momentum changes these rows
        alone. Adam and all others with slots (moments, velocities, accumulators) compute on the whole table in Keras 2
        and 3, several times over, however few rows a batch has: with a large vocabulary that is most of the step.

        Many small variables: each update is some ten operations for each variable, which take longer to start than to
        run. global_clipnorm: the norm over all gradients has to be known before the first update, and reads all of them
        once more.""",
        signal="""A look inside some steps with TensorFlow's profiler says what the update takes. While the update is
        traced, the agent notes the tables whose gradient is sparse, how many rows a step looks up, and the optimizer's
        variables of the same shape. It is told only for one of these reasons; a large dense model with a small batch
        spends its time in the update, too, and has none. Where nothing looked (a headless run, a short one), a table of
        a million numbers or more that is most of the model is information: its time is not measured.""",
        steps=(
            """A large table: an optimizer without slots, at least for the table.
            | model.compile(keras.optimizers.SGD(0.1), loss)""",
            """Two optimizers in an own training step, each for its variables:
            | sgd.apply(table_gradients, tables)
            | adam.apply(other_gradients, others)""",
            "A smaller table: hash rare words together, or drop words that come once.",
            """Many small variables: one program for the whole step.
            | model.compile(optimizer, loss, jit_compile=True)""",
            "Clip each gradient by itself (clipnorm, clipvalue) where the norm over all takes the time.",
        ),
        harmless="""Where Adam on the table learns so much better than SGD that it is worth the time; compare the losses
        by time, and not by epoch.""",
        limits=(
            *SHARES,
            Limit("a table: it has {} times more rows than a step looks up, or more", RARE),
            Limit("small variables: the update has {} operations or more", MANY_OPS),
            Limit("small: {} parameters a variable, or fewer", SMALL_ELEMENTS),
        ),
        demo="demo/sparse_update.py",
    ),
    Entry(
        id="compute.collectives",
        means="replicas spend the step adding up gradients",
        seen="""Several GPUs or workers, and steps that are hardly faster, or slower, than on one. In the step pane
        "collectives" is a large part of compute.""",
        why="""In synchronous training each replica computes the gradients of its part of the batch; then all of them
        are added up (all-reduce) before any of them goes on. That costs time by the number of parameters, whatever the
        batch, and by the slowest link between the replicas: NVLink, PCIe, a network. A small batch for each replica
        makes it the larger part. Also a replica that is late makes all others wait in it.

        Folk advice says that more GPUs are faster with the same batch. That batch is split among them: each computes
        less, and exchanges as much as before.""",
        signal="""The time in collective operations (CollectiveReduce, NCCL's kernels) in a profile of a few steps,
        where nothing else ran at the same time; where both ran, they share it. The cost of the exchange and the wait
        for others can't be told apart in a profile of one process. What the other GPUs bring tells a rerun on one: the
        comparison has the scaling efficiency.""",
        steps=(
            """Give each replica a batch as large as its memory allows: the global batch is that times the replicas.
            | batch = 64 * strategy.num_replicas_in_sync""",
            """See what the others bring: one GPU, then compare.
            | tfgpu-tui --set visible_devices=0 train.py""",
            """Between machines: NCCL instead of the default, and the network interface that is fast.
            | tfd = tf.distribute.experimental
            | options = tfd.CommunicationOptions(
            |     implementation=tfd.CommunicationImplementation.NCCL)""",
            "If one replica is late, look for its cause first: `run.multi_gpu_idle`, `gpu.throttled`, its input.",
        ),
        harmless="""Where the model does not fit one GPU, or where the batch is as large as it may be and one GPU
        would still take longer.""",
        limits=(JUDGED, Limit("a warning from {} of each step", COLLECTIVES_SHARE, units.share)),
        knobs=("visible_devices=",),
        demo="demo/all_reduce.py",
        demo_note="two workers on this machine; with --set profile=5 in a headless run",
    ),
)
