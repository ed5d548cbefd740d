"""Family D: the step waits for the host (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.state import STEADY_STEPS
from tfgpu_tui.diagnose.epoch_starts import MIN_EPOCHS
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE
from tfgpu_tui.diagnose.host import BUSY_CORE_PERCENT, IDLE_GPU_PERCENT, SHORT_STEP_S
from tfgpu_tui.diagnose.host_calls import MANY_FITS, MANY_PREDICTS, PREDICTS_AN_EPOCH, SHORT_FIT_STEPS
from tfgpu_tui.diagnose.host_edges import DOMINATE, DOMINATE_CRITICAL
from tfgpu_tui.diagnose.host_graphs import MANY, SPIKE, SPIKE_S
from tfgpu_tui.diagnose.lines import MIN_LOOKS, MOST
from tfgpu_tui.diagnose.register.entry import A_WARNING, JUDGED, SHARES, Entry, Limit

_LOOKS = (
    Limit("lines are named from {} looks on", MIN_LOOKS),
    Limit("one line is where to begin from {} of the looks on", MOST, units.share),
)
_A_START = Limit("judged from {} training steps on", STEADY_STEPS)
_OF_THE_TIME = (
    _A_START,
    Limit("a warning from {} of the time since the first step", WARNING_SHARE, units.share),
    Limit("critical from {} of it", CRITICAL_SHARE, units.share),
)

ENTRIES = (
    Entry(
        id="host.callbacks",
        means="callbacks take a large part of each step",
        seen="""The share "host" in the step pane is large, and the finding names the callback's class with its time a
        step. GPU busy has a gap between any two steps.""",
        why="""on_train_batch_begin and on_train_batch_end run in the training's own thread, after the step and before
        the next one. Whatever they do, the next step is not started meanwhile: writing a file, drawing a picture,
        sending a number to a server, metrics in NumPy. Keras can hand batch callbacks to another thread with some
        backends, not with TensorFlow.""",
        signal="""The time of each callback by class, around its batch methods, less the time in which it only waits for
        a result of the device (float(loss)): that is the step's compute. Epochs' ends are host.validation. Which lines
        of it take the time is told by looks at the thread, ten a second: a share of looks, no stopwatch.""",
        steps=(
            """Do it less often:
            | def on_train_batch_end(self, batch, logs=None):
            |     if batch % 100 == 0:
            |         self.write(logs)""",
            "Or once an epoch: move it to on_epoch_end.",
            "Ready-made ones have a setting for it: TensorBoard(update_freq=100), ModelCheckpoint(save_freq=5000).",
            """Collect on the way, and write from a thread of your own:
            | self.queue.put(dict(logs))""",
            """Or return to Python less often; callbacks then see every 32nd batch.
            | model.compile(…, steps_per_execution=32)""",
        ),
        harmless="Below the limit. Keras' own progress bar is a callback as well, and cheap.",
        limits=(*SHARES, *_LOOKS),
        demo="demo/slow_callback.py",
    ),
    Entry(
        id="host.python",
        means="the script's own Python takes time between the steps",
        seen="""In a loop of the script's own: the share "host" is large, and no callback is there to blame. The finding
        names the lines.""",
        why="""What stands in the loop beside the compiled step runs in one thread, and the next step waits for it:
        logging, metrics in NumPy, a progress bar, preparing data by hand.

        Reading a tensor's value (float(loss), loss.numpy(), an f-string with a tensor in it) is the reason why the GPU
        then idles: it waits until the GPU has computed all that was queued. Without it, Python's own work would run
        beside the GPU's. And where a Python generator makes the batches, the loop waits for the interpreter lock, too,
        whatever its line does.

        A Keras model that is called by itself, model(x), starts each of its ops from Python. A validation over arrays
        that does so lies between the steps, too; the finding says that a model takes the time.""",
        signal="""The time between the end of one training step and the beginning of the next, less what callbacks and
        calls of predict take, and less the waiting for results of the device, which counts as compute (np.array(tensor)
        apart, which can't be seen). The lines are told by looks at the thread, ten a second. What Keras' fit does
        between steps is Keras' own and not counted.""",
        steps=(
            """Read values seldom:
            | for step, (x, y) in enumerate(dataset):
            |     loss = train_step(x, y)
            |     if step % 100 == 0:
            |         print(step, float(loss))""",
            """Keep sums in the graph, and read them at the end of the epoch:
            | mean = keras.metrics.Mean()
            | mean.update_state(loss)      # within train_step""",
            """Call the model within a function, for a validation or an action, too:
            | @tf.function(reduce_retracing=True)
            | def test(x):
            |     return model(x, training=False)""",
            "Prepare data in a tf.data pipeline, which works beside the step.",
            "If the named line waits for another process or thread: a longer queue, or more of them.",
        ),
        harmless="Below the limit; and where the loop is meant to do other work between steps (a simulation, a game).",
        limits=(*SHARES, *_LOOKS),
        demo="demo/slow_logging.py",
    ),
    Entry(
        id="host.eager",
        means="Python starts every operation of every step",
        seen="""Steps take several times what they should; one core is busy, GPU busy is low. The finding says how many
        operations a step starts by itself.""",
        why="""In eager mode each operation is a call from Python: some microseconds each, hundreds or thousands a step,
        and no fusion, no parallel branches, no XLA. fit compiles its step by itself. It is eager where somebody asked
        for it: compile(run_eagerly=True), tf.config.run_functions_eagerly(True), often for a look with a debugger, and
        then forgotten. A loop of the script's own is eager unless its step is a tf.function.""",
        signal="""model.run_eagerly, the switch of TensorFlow as read back after the first step (with the script's line
        that set it), or steps without a compiled function; the operations of one step are counted by watching it once.
        How much a graph would save is known only after a run with it.""",
        steps=(
            """Put the step, and no more, into a function:
            | @tf.function
            | def train_step(x, y):
            |     with tf.GradientTape() as tape:
            |         loss = loss_fn(y, model(x, training=True))
            |     grads = tape.gradient(loss, model.trainable_variables)
            |     optimizer.apply_gradients(
            |         zip(grads, model.trainable_variables))
            |     return loss""",
            """With fit, take the switch out:
            | model.compile(…)                               # run_eagerly=False
            | # tf.config.run_functions_eagerly(True)        # remove""",
            """Try it without an edit:
            | tfgpu-tui --set run_eagerly=off train.py""",
            "Then look at host.retracing: Python numbers and changing shapes would trace it again.",
        ),
        harmless="""While you debug. A model of few very large operations hardly gains by a graph.""",
        limits=(JUDGED,),
        knobs=("run_eagerly=off",),
        demo="demo/custom_loop.py",
    ),
    Entry(
        id="host.launch_bound",
        means="steps are too small for the GPU",
        seen="""Short steps, no wait for input, GPU busy low, and one core at its limit ("busiest core" in the CPU
        pane). A CPU may be as fast, or faster.""",
        why="""Each kernel is started by a thread of the host, which takes some microseconds. A small model has kernels
        that take less, so the GPU waits for the next one. A faster GPU changes nothing.""",
        signal="""All of these together: steps below the limit, little waiting, GPU busy low over the time of training,
        and the busiest core near its limit.""",
        steps=(
            "A larger batch: the same number of kernels, more work in each. Adapt the learning rate.",
            """Several steps for each return to Python; callbacks then see every 32nd batch:
            | model.compile(…, steps_per_execution=32)""",
            """Let XLA join kernels (Keras 3 does it by itself on a GPU unless a layer forbids it):
            | model.compile(…, jit_compile=True)""",
            "Try the CPU: CUDA_VISIBLE_DEVICES=-1.",
        ),
        harmless="Where the whole training takes minutes anyway.",
        limits=(
            JUDGED,
            Limit("critical from {} of step time in which the GPU idles, else a warning", CRITICAL_SHARE, units.share),
            Limit("steps of at most {}", SHORT_STEP_S, units.duration),
            Limit("GPU busy is below {}", IDLE_GPU_PERCENT, units.percent),
            Limit("the busiest core is at {} or more", BUSY_CORE_PERCENT, units.percent),
        ),
        knobs=("steps_per_execution=32",),
        demo_note="it needs a GPU",
    ),
    Entry(
        id="host.retracing",
        means="a tf.function is traced again and again",
        seen="""Steps with spikes, `r` on the time axis, host memory that creeps up; perhaps TensorFlow's warning "5 out
        of the last 5 calls to … triggered tf.function retracing". One report speaks of a hundredfold slow-down.""",
        why="""A tf.function makes one graph for each kind of arguments, and tracing runs the whole Python of it, which
        is much slower than a step. A new kind is: another value of a Python number or string (each value is one),
        another shape, another dtype, another structure, another object. And a tf.function that is made within a loop is
        a new one each time, with an empty memory.

        The first graphs are no fault: Keras itself traces its step twice at the beginning.""",
        signal="""Each trace is counted by function, timed, and the arguments are compared with those of the trace
        before: the finding names the one that changed, and from what to what. Only the later half of the steps
        counts.""",
        steps=(
            """A number that changes goes in as a tensor:
            | train_step(x, y, tf.constant(rate))""",
            """A size that changes is left open:
            | @tf.function(input_signature=[
            |     tf.TensorSpec([None, None], tf.int32),
            |     tf.TensorSpec([None], tf.int32)])
            | def train_step(x, y): ...""",
            """Or all batches get one shape:
            | dataset.padded_batch(32, padded_shapes=([128], []),
            |                      drop_remainder=True)""",
            "Make the function once, outside of the loop and of the method that is called in it.",
            "reduce_retracing=True lets TensorFlow relax shapes by itself; it does not help with Python values.",
        ),
        harmless="A few traces at the start, and one for the smaller last batch of the data.",
        limits=(
            _A_START,
            Limit("a warning from {} of the time of the later half of the steps", WARNING_SHARE, units.share),
            Limit("critical from {} of it", CRITICAL_SHARE, units.share),
            Limit("{} traces or more in that half", MANY),
        ),
        demo="demo/retracing.py",
    ),
    Entry(
        id="host.xla_recompile",
        means="XLA seems to compile again for each new shape",
        seen="""Steps of milliseconds, and between them single ones of a second and more, all through the training. On
        stderr at best one line, "Compiled cluster using XLA!", once in a process.""",
        why="""XLA makes one program for one set of shapes. Text in batches of any length, or boxes in any number,
        bring a new shape with every batch, and each is compiled in the middle of its step. On an H200 such a
        compile took 4.2 s in a training of 2 ms a step. Keras 3 compiles by itself on a GPU (jit_compile="auto"),
        so scripts meet it that never asked for XLA; under tf.distribute, and where a layer says that it can't be
        compiled, it does not.""",
        signal="""XLA tells nobody when it compiles. It is inferred: jit_compile is on, the batches have a dimension
        without a fixed size (besides the batch's), and steps are spikes whose time lies in the computation. The finding
        is marked as not certain for that.""",
        steps=(
            """Pad to one size, or to a few:
            | dataset = dataset.padded_batch(32, padded_shapes=[256])
            | # or: to 63, 127, 256; no element may be longer than that
            | dataset = dataset.bucket_by_sequence_length(
            |     lambda x: tf.shape(x)[0], [64, 128, 257], [32] * 4,
            |     pad_to_bucket_boundary=True)""",
            """Drop the smaller last batch:
            | dataset = dataset.batch(32, drop_remainder=True)""",
            """Or do without XLA; try it without an edit:
            | tfgpu-tui --set jit_compile=off train.py""",
        ),
        harmless="""In the first steps: each shape is compiled once, and a few shapes are soon through. The compile for
        the smaller last batch of the first epoch counts as warm-up.""",
        limits=(
            JUDGED,
            A_WARNING,
            Limit("{} spikes or more", MANY),
            Limit("a spike takes {} times a quick step", SPIKE),
            Limit("and {} or more", SPIKE_S, units.duration),
        ),
        knobs=("jit_compile=off",),
        demo="demo/xla_recompile.py",
    ),
    Entry(
        id="host.validation",
        means="much of each epoch is validation, or its callbacks",
        seen="""`v` and `c` on the time axis, with long stretches without a training step behind them. GPU busy may be
        high, in the validation.""",
        why="""fit validates after each epoch, with all of validation_data and the training's batch size unless told
        otherwise. With short epochs that is soon half of the time. ModelCheckpoint writes the whole model, from the
        training's thread; callbacks that draw or predict at the end of an epoch wait there, too.""",
        signal="""The epochs' wall time, what of it the validation took, and each callback's time at the epochs' edges;
        epochs after the first, which traces and compiles. Calls of predict from a callback are named by
        host.predict_in_loop, with their line.""",
        steps=(
            """Validate less often, on less, in larger batches:
            | model.fit(…, validation_freq=5, validation_steps=50,
            |           validation_batch_size=512)""",
            """Cache the validation data, if they fit in memory:
            | val = val.map(decode).batch(512).cache().prefetch(2)""",
            """Save only what is better, and only the weights:
            | keras.callbacks.ModelCheckpoint("best.weights.h5",
            |     save_best_only=True, save_weights_only=True)""",
            "Longer epochs: several passes over the data between two validations.",
        ),
        harmless="""Where it is worth its time. Every healthy run validates; that is why the limit is higher than that
        of other findings.""",
        limits=(
            Limit("judged from {} epochs on, after the first", MIN_EPOCHS),
            Limit("a warning from {} of the epochs' time", DOMINATE, units.share),
            Limit("critical from {} of it", DOMINATE_CRITICAL, units.share),
        ),
        demo="demo/long_validation.py",
    ),
    Entry(
        id="host.fit_in_loop",
        means="fit() is started again and again for a few steps",
        seen="""Many short bars of steps with gaps between them; GPU busy low; the epochs pane counts one epoch after
        another.""",
        why="""Each call of fit makes an iterator and a data adapter, sets callbacks up, begins and ends an epoch,
        resets metrics. That is done once for an epoch of thousands of steps, and here for ten. Loops of reinforcement
        learning, and learning curves, are often written like that. The finding says how long one start takes on this
        machine.""",
        signal="""The wall time of the calls after the first, less the steps and validations within them, and less what
        lies between the epochs of one call: one fit for all would have that, too.""",
        steps=(
            """One fit for all epochs; what stands between the calls becomes a callback:
            | class Between(keras.callbacks.Callback):
            |     def on_epoch_end(self, epoch, logs=None): ...
            | model.fit(dataset, epochs=100, callbacks=[Between()])""",
            """Where each batch is made by hand:
            | loss = model.train_on_batch(x, y)""",
            "Or a loop of your own with one tf.function for the step (see host.eager).",
        ),
        harmless="Where each fit is long, as in a search over settings.",
        limits=(
            *_OF_THE_TIME,
            Limit("{} calls or more", MANY_FITS),
            Limit("of {} steps each at most", SHORT_FIT_STEPS),
        ),
        demo="demo/fit_in_loop.py",
    ),
    Entry(
        id="host.predict_in_loop",
        means="predict() is started again and again for a few rows",
        seen="""A training that is slow between its steps; the finding names the line with the calls, and milliseconds
        for each. Keras' progress bars fill the output, unless verbose=0.""",
        why="""predict is made for large data: it makes a dataset, an iterator and callbacks for each call, whatever its
        size. For one row the starting takes many times what the model does. Agents that ask for one action at a time,
        and callbacks that generate text token by token, call it thousands of times.""",
        signal="""The wall time of the calls, less the time of their batches, since the first training step; by method,
        with the script's line. Validations of fit, and a few calls an epoch from a callback, do not count.""",
        steps=(
            """Call the model itself, in a function:
            | @tf.function(reduce_retracing=True)
            | def act(states):
            |     return model(states, training=False)
            | q = act(state[None, :]).numpy()""",
            "Or collect rows, and ask once for all of them.",
            "For single batches there are predict_on_batch and test_on_batch.",
        ),
        harmless="Once after each epoch, or for large data: then starting is nothing.",
        limits=(
            *_OF_THE_TIME,
            Limit("{} calls or more", MANY_PREDICTS),
            Limit("within fit only what is more than {} calls an epoch", PREDICTS_AN_EPOCH),
        ),
        demo="demo/predict_in_loop.py",
    ),
    Entry(
        id="host.debugging",
        means="a debugging switch of TensorFlow is still on",
        seen="""Everything is slow, and no part of it stands out.""",
        why="""Three switches cost something in every operation or element, and none of them says so later:
        tf.debugging.enable_check_numerics() searches each result for NaN and infinity, enable_dump_debug_info() writes
        what each operation does to files, tf.data.experimental.enable_debug_mode() runs the input pipeline in Python,
        one operation after the other. With XLA the first does not work at all, and Keras 3 compiles with XLA on a GPU
        by itself.""",
        signal="""The calls are watched as the script makes them, with their line; a switch that was turned off again is
        not named. How much it costs is known only after a run without it.""",
        steps=(
            """Take the call out once the fault is found; or make it a choice:
            | if os.environ.get("DEBUG"):
            |     tf.debugging.enable_check_numerics()""",
            """Against NaN alone a callback is cheap:
            | keras.callbacks.TerminateOnNaN()""",
        ),
        harmless="While you search.",
        limits=(JUDGED,),
        demo="demo/check_numerics.py",
    ),
    Entry(
        id="host.determinism",
        means="results are made deterministic, at a price",
        seen="""A training that gives the same numbers in each run, and is slower than the same script without. The
        input wait is shown as not measured.""",
        why="""tf.config.experimental.enable_op_determinism(), or TF_DETERMINISTIC_OPS=1, makes TensorFlow take only
        algorithms whose result does not depend on the order of threads: other kernels on the GPU, sums in a fixed
        order, no choice of the quickest convolution by trial. In tf.data, functions that draw random numbers or keep a
        state run one after the other, whatever num_parallel_calls says. An operation that has no such kernel raises.
        Keras 3 leaves XLA off then, where jit_compile is "auto".

        It is a setting of reproducibility, left on from a paper's script or copied with the seeds. Seeds alone cost
        nothing.""",
        signal="""The call is watched as the script makes it, with its line; the variable is read back from TensorFlow.
        What it costs is known only by a run without it, which Enter starts: the comparison of both tells. TensorFlow
        forbids clocks in its graphs meanwhile, so the input wait is unknown.""",
        steps=(
            """Measure its price without an edit:
            | tfgpu-tui --set determinism=off train.py""",
            """Keep the seeds, and only them, where equal numbers to the last bit are not needed:
            | keras.utils.set_random_seed(1)""",
            """Or make it a choice:
            | if os.environ.get("REPRODUCE"):
            |     tf.config.experimental.enable_op_determinism()""",
            "Where it must stay: move random functions of the input pipeline into layers of the model.",
        ),
        harmless="Always information: where two runs must be equal, this is the way.",
        limits=(JUDGED,),
        knobs=("determinism=off",),
        demo="demo/deterministic.py",
    ),
)
