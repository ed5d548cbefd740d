"""Family F: the run itself (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.parts.standstill import COMPUTING_PERCENT, STALL_AFTER_S, STALL_STEPS
from tfgpu_tui.diagnose.gpu_run import IDLE_PERCENT, LOOKED_AT_S, SLOW_CLOCK, WORKING_PERCENT
from tfgpu_tui.diagnose.register.entry import JUDGED, Entry, Limit
from tfgpu_tui.diagnose.run import NO_STEPS_AFTER_S, SLOW_EXIT_S
from tfgpu_tui.diagnose.stalled import AT_END, PATIENCE
from tfgpu_tui.diagnose.whole_run import GREATEST_S, LEAST_S, MOST, NEEDLESS_S, SLOW_START_S, SLOW_START_SHARE

ENTRIES = (
    Entry(
        id="run.failed",
        means="the script failed, or a child process of it",
        ends_run=True,
        seen="""The run is over with an exit status other than 0, or with 0 although a worker crashed. The finding has
        the exception's own reason and the script's own line, from below the pages around them.""",
        why="""TensorFlow's exceptions bury what happened: "Graph execution error:", names of nodes, a trace of the
        graph's making, Keras' "Exception encountered when calling …", and the last line on stderr may be another
        thread's. What matters is mostly one line in the middle. What has a cure that is always the same has a finding
        of its own: run.legacy_api, xla.unsupported_op, memory.oom.""",
        signal="""The exit status from the process's own parent; the exception as Python raised it in the script's
        process, with the innermost frame that is the script's; the end of each child, and its exception where the agent
        is in it. A stop that was asked for is no failure.""",
        steps=(
            "Go to the named line. A shape in the message has the batch as its first dimension, as a rule.",
            """Look with the step in Python, where a debugger can stop in it:
            | tfgpu-tui --set run_eagerly=on --stop-after 5 train.py""",
            "If no exception was seen, the script called exit itself, or a library did: read the end of its output.",
            """If children crashed though the script ended well: join them, and look at their exit codes.
            | assert worker.exitcode == 0""",
            "If the script was never started: name an interpreter that runs here, with --python.",
        ),
        harmless="""Where a script ends with another status on purpose. What it says itself counts: the tool's own exit
        status is the script's.""",
        demo="demo/failing_child.py",
    ),
    Entry(
        id="run.killed",
        means="a signal ended the script",
        ends_run=True,
        seen="""The output stops in the middle, without a traceback: a signal leaves no time for one. The shell says
        "Killed" or "Segmentation fault"; the exit status is 128 plus the signal's number.""",
        why="""SIGKILL (9) comes mostly from the kernel's out-of-memory killer, when the machine or the job's
        memory limit was full; also from a scheduler at its time limit, after SIGTERM (15). SIGSEGV (11), SIGABRT
        (6) and their kind are crashes of a native library, never of Python code by itself. SIGHUP (1) is a
        terminal that was closed.""",
        signal="""The signal from the process's own parent. Whether it was the out-of-memory killer is counted by the
        kernel (memory.events of the job's cgroup, or the machine's counter), before and after; the highest memory seen
        stands beside it. Signals that you asked for are no finding, nor is the SIGTERM or SIGINT that ends a server of
        a job (a parameter server, a coordinator's worker, a tf.data service), which waits for just that.""",
        steps=(
            """Out of memory on the host: a smaller shuffle buffer or cache(), fewer workers, a larger job (sbatch
            --mem, docker --memory). Look at memory.host_growth: it may have been rising for hours.""",
            """Not counted here? The kernel's log tells:
            | sudo dmesg | tail""",
            """A crash: see where, and which library.
            | python -X faulthandler train.py
            | coredumpctl list""",
            "At a time limit: save checkpoints, and go on from the last one (keras.callbacks.BackupAndRestore).",
        ),
        harmless="Where somebody, or a scheduler, meant to end it.",
        demo_note="any run shows it that is ended by kill -9",
    ),
    Entry(
        id="run.legacy_api",
        means="the script calls what TensorFlow or Keras lost",
        ends_run=True,
        seen="""AttributeError, ImportError or TypeError within the first second, at a line that a book or an answer of
        some years ago wrote like that.""",
        why="""TensorFlow 1's sessions, placeholders and tf.contrib went with 2.0. TensorFlow 2.16 replaced Keras 2 by
        Keras 3, which dropped fit_generator, fit(workers=…), keras.utils.np_utils, saving to a folder, and lr= for
        learning_rate=.""",
        signal="""The exception of a script that failed: the name in it is one of a table of names that are gone, each
        with today's call; each row was tried against TensorFlow 2.21 with Keras 3.15 and 2.15 with Keras 2.15. An
        object of the script's own that lacks such a name is not meant.""",
        steps=(
            """Write what the finding says. The most frequent ones:
            | model.fit(generator)                    # fit_generator
            | keras.utils.to_categorical(y)           # np_utils
            | keras.optimizers.Adam(learning_rate=1e-3)   # lr
            | model.save("model.keras")               # a folder""",
            """A large Keras 2 program runs on for now with the package tf_keras, set before TensorFlow is imported:
            | pip install tf_keras
            | export TF_USE_LEGACY_KERAS=1""",
            """TensorFlow 1 code runs in part under
            | import tensorflow.compat.v1 as tf
            | tf.disable_v2_behavior()""",
        ),
        harmless="Where the script catches it and goes on, it is never said.",
        demo="demo/old_keras.py",
        demo_note="with Keras 3; Keras 2 still has that call",
    ),
    Entry(
        id="xla.unsupported_op",
        means="XLA can't compile an operation of the training step",
        ends_run=True,
        seen="""InvalidArgumentError, "Detected unsupported operations when trying to compile graph … on XLA_GPU_JIT:
        AsString (No registered 'AsString' OpKernel for XLA_GPU_JIT devices …)", under pages of Keras' and TensorFlow's
        own lines. The same script trains on a machine without a GPU.""",
        why="""XLA compiles the whole step into one program, and knows fewer operations than TensorFlow: none on
        strings, no lookup tables, no Python (py_function). Without XLA such an operation would simply run on the CPU.

        Nobody has to ask for XLA: with Keras 3 (TensorFlow 2.16 and later) compile has jit_compile="auto", which means
        on as soon as a GPU is visible, unless a layer says that it can't be compiled, the model trains under
        tf.distribute, or determinism is switched on. Keras' own text and lookup layers say so; a layer of your own with
        such an operation in its call does not. Seen on an H200 with TensorFlow 2.21.""",
        signal="""The exception of a script that failed: XLA's own words, from which the operation and the layer are
        read; the script's line is that of the layer's call. It stands in place of run.failed.""",
        steps=(
            """Do without XLA:
            | model.compile(…, jit_compile=False)""",
            """Try that first without an edit (Enter on the finding):
            | tfgpu-tui --set jit_compile=off train.py""",
            """Better, where speed matters: take the operation out of the model, into the input pipeline, where it runs
            beside the GPU.
            | dataset = dataset.map(lambda x, y: (hash_words(x), y),
            |                       num_parallel_calls=tf.data.AUTOTUNE)""",
            """Let your own layer say it, so that Keras' "auto" takes it into account:
            | class HashWords(keras.layers.Layer):
            |     def __init__(self, **kwargs):
            |         super().__init__(**kwargs)
            |         self.supports_jit = False""",
        ),
        harmless="Where the script catches it and goes on, it is never said.",
        knobs=("jit_compile=off",),
        demo="demo/xla_unsupported.py",
        demo_note="without a GPU, too; a real H200's: replay demo/recordings/h200-xla-refused.jsonl",
    ),
    Entry(
        id="run.broken_environment",
        means="a package does not fit TensorFlow, or lacks files",
        ends_run=True,
        seen="""The script ends at `import tensorflow` or `import keras`, with words that name neither a version nor a
        package: "numpy.core.umath failed to import", "_ARRAY_API not found", "cannot import name 'builder' from
        'google.protobuf.internal'", "module 'tensorflow._api.v2.compat.v2.__internal__' has no attribute
        'register_load_context_function'". Or at the first use, with "module 'tensorflow' has no attribute 'keras'",
        "cannot import name 'keras' from 'tensorflow' (unknown location)", "No module named 'tensorflow.python'".
        Yesterday it ran; since then something else was installed, or removed.""",
        why="""TensorFlow's libraries are compiled against one range of NumPy, protobuf, h5py and ml_dtypes, and its
        Python code is written for one of Keras. `pip install` of another package may replace one of them, and says so
        only in a line of warnings. TensorFlow up to 2.17 was built for NumPy 1 and does not start beside NumPy 2.

        tensorflow and tensorflow-cpu are the same files: removing one takes them from the other, whose metadata stays.
        An install that broke off, or a file that pip did not bring, leaves a folder without its `__init__.py`, which
        Python imports without a word, as an empty namespace package.""",
        signal="""The exception of a script that failed, and the versions: what is installed, and what TensorFlow's own
        metadata asks for. Both must agree on one package; a version that does not fit, alone, is no finding, since many
        of them work all the same. Or the exception speaks of TensorFlow or Keras, and of that package no `__init__.py`
        is there where Python finds it, or some that its own list of files (RECORD) names are not there: they are
        counted. `tfgpu-tui doctor` says both before a run.""",
        steps=(
            """Let pip bring back what TensorFlow asks for: it changes only what does not fit.
            | pip install 'tensorflow==2.16.2'  # the version that is installed""",
            """Where files are missing, pip believes that they are there, and has to be told.
            | pip install --force-reinstall --no-deps 'tensorflow==2.16.2'""",
            """See what else does not fit.
            | pip check""",
            "Give each project its own environment: then nobody else's install changes yours.",
        ),
        harmless="Where the script catches the exception and goes on without TensorFlow.",
        demo_note="it would take an environment that is broken on purpose",
    ),
    Entry(
        id="run.multi_worker_keras3",
        means="Keras 3 can't fit() over several workers",
        ends_run=True,
        seen="""ValueError, "Attempt to convert a value (PerReplica:{…}) with an unsupported type", from fit() under
        tf.distribute.MultiWorkerMirroredStrategy; older versions of Keras 3 say "Invalid reduction dimension". The same
        script trains with one worker, and trained with TensorFlow 2.15. TensorFlow's own tutorial fails so
        (keras#20585, tensorflow#72388).""",
        why="""From TensorFlow 2.16 on tf.keras is Keras 3, whose fit() supports MirroredStrategy, the GPUs of one
        machine, and never supported the strategy over several machines: it takes the first batch in Python to build the
        model, and gets one value for each replica, which it can't read. Keras 3.3 to 3.15 were tried with two workers
        on TensorFlow 2.21: all fail. With one worker in the cluster it works.""",
        signal="""The strategy that fit() hands its batches out by, and the size of its cluster; and an exception that
        ended the script before any training step. It stands in place of run.failed.""",
        steps=(
            """Keras 2 still does it; for all workers, before TensorFlow is imported:
            | pip install tf_keras
            | export TF_USE_LEGACY_KERAS=1         # tf.keras is tf_keras""",
            """Or a loop of your own, in which Keras 3's layers work:
            | batches = strategy.experimental_distribute_dataset(dataset)
            | @tf.function
            | def train(batch):
            |     return strategy.run(step, (batch,))""",
            """On one machine with several GPUs this strategy is not needed:
            | strategy = tf.distribute.MirroredStrategy()""",
        ),
        harmless="""Never: nothing is trained. Two workers with tf_keras 2.21, and two with an own loop, were tried here
        and train.""",
        demo="demo/multi_worker.py",
    ),
    Entry(
        id="run.nan_loss",
        means="the loss is NaN or infinite: the weights are lost",
        seen="""`loss: nan` in the progress bar, from some step on and for ever. Accuracy stays where guessing is.""",
        why="""One infinite or undefined number in a gradient reaches every weight at the next update, and no update
        brings a weight back from NaN. It comes from a learning rate that is too large (the loss grows by orders of
        magnitude first), from data that holds NaN or infinity, from log(0) or a division by zero in your own loss, or
        from float16: it has no number above 65504 and none below 6e-8 but zero.

        Keras' mixed_float16 policy scales the loss against that, with compile and fit; a loop of your own must do it
        itself.""",
        signal="""The loss that Keras reports, read about once a second: when it first was no number, and when it last
        was one. Other metrics may be NaN on purpose and are not looked at. One that becomes a number again takes the
        finding back.""",
        steps=(
            """Look at the data first: it costs a minute.
            | for x, y in dataset:
            |     tf.debugging.assert_all_finite(x, "x")""",
            """Lower the learning rate ten times, or clip the gradients.
            | keras.optimizers.Adam(1e-4, clipnorm=1.0)""",
            """With mixed_float16, see whether it is the precision (Enter on the finding).
            | tfgpu-tui --set precision=float32 train.py""",
            """Let TensorFlow name the first op that makes one; it doubled short steps in a test: take it out again.
            | tf.debugging.enable_check_numerics()""",
        ),
        harmless="Never in training; a loss that is meant to be masked out should be zero, not NaN.",
        knobs=("precision=float32",),
        demo="demo/nan_loss.py",
    ),
    Entry(
        id="run.slow_exit",
        means="the script is over, but its process does not end",
        seen="""The last line was printed, the training is done, and the prompt does not come back. GPU memory stays
        taken.""",
        why="""At its end Python takes no more calls from threads. A pipeline that runs Python (a generator, a
        py_function) and was left before its end may have a call under way: TensorFlow waits for it for ever. That is a
        fault of TensorFlow (seen with 2.21), and happens without the monitor, too. Other reasons: a thread that is no
        daemon, a __del__, a library that uploads something.""",
        signal="""The interpreter has begun to close (the agent is told), and the process is still there after the time
        below. What it waits for is not measured; a stage that runs Python is named as a suspect.""",
        steps=(
            """End it: its own code is done.
            | kill -TERM PID     # or q, then s, on the screen""",
            """Let go of iterators before the end:
            | del iterator
            | import gc; gc.collect()""",
            "Read a pipeline to its end, or bound it with take(n), in place of leaving a loop by break.",
            "Join your own threads, or make them daemons.",
        ),
        harmless="""After a stop that you asked for: the monitor then ends what waits, and says so.""",
        limits=(Limit("an interpreter that closes for {} or longer", SLOW_EXIT_S, units.duration),),
        demo_note="it happens by chance, in some runs of the same script",
    ),
    Entry(
        id="run.outside_training",
        means="most of the run is none of its steps",
        seen="""The run took minutes, and its steps a part of that: a long silence before the first step, between
        epochs, or after the last one. Nothing that makes a step faster would help.""",
        why="""Much around the steps is done once and in Python: data are read and converted, models built, functions
        traced; fit() prepares its data before its first step (Keras 3 goes through class_weight row by row), makes its
        iterator anew for each epoch, and validates.""",
        signal="""The wall time of the run, from start to exit, split by the phases that the agent clocks; what is
        measured within them (steps, tracing, validation, callbacks) is taken out of them. The parts sum to the wall
        time, and what no phase covers is called unknown and blamed on nothing. The line is where ten looks a second at
        the main thread saw it longest. Judged once the run has ended well: a run that goes on may train for days yet.
        What another finding says already (a slow validation, fit in a loop, tracing again) is left out; imports and
        exit count from a minute on.""",
        steps=(
            """See all parts, of this run or of two:
            | tfgpu-tui report RUN
            | tfgpu-tui compare RUN RUN""",
            "Take the greatest part first: the finding names it, and the line where the main thread stood.",
            """Where fit() goes through class_weight: give it the weights of all rows as an array.
            | weights = np.where(y == 1, 9.0, 1.0)
            | model.fit(x, y, sample_weight=weights)""",
            """Where it lies between epochs of a few steps each: one iterator for all of them.
            | data = tf.data.Dataset.from_tensor_slices((x, y))
            | data = data.shuffle(len(x)).batch(32).repeat()
            | model.fit(data, steps_per_epoch=len(x) // 32, epochs=1000)""",
            "Save what is prepared (np.save, TFRecord, Dataset.save), and load that in later runs.",
        ),
        harmless="""In a short trial of a script that trains for hours otherwise; where the script's work is the rest,
        and the training a part of it.""",
        limits=(
            Limit("from {} of the wall time on, less short imports and exit", MOST, units.share),
            Limit("and from {} outside of the steps", LEAST_S, units.duration),
            Limit("of which the greatest part takes {} or more", GREATEST_S, units.duration),
            Limit("{} are enough for both where fit() goes through class_weight", NEEDLESS_S, units.duration),
        ),
        demo_note="a demo would have to run for longer than a reader wants to wait",
    ),
    Entry(
        id="run.slow_start",
        means="the first call of a function takes long",
        seen="""The first step takes a minute, those after it milliseconds.""",
        why="""The first call of a tf.function traces its Python to a graph, optimises and compiles that (XLA, where it
        is on; kernels for a GPU that TensorFlow was not built for), and chooses algorithms. A graph of many ops, such
        as a Python loop of a thousand turns makes, takes long in each of these.""",
        signal="""Wall time from the begin of the execution that a function was traced for to its end, less what it
        waited for its first batch; of that, the tracing by its own clock. That XLA compiles is known by jit_compile,
        that kernels are compiled from PTX by TensorFlow's own message; the choice of algorithms is not measured
        apart.""",
        steps=(
            "Where tracing takes it: no Python loop over time steps in the function; tf.range, tf.map_fn, RNN.",
            """Where XLA does: let it keep what it compiled, or leave it off.
            | TF_XLA_FLAGS=--tf_xla_persistent_cache_directory=DIR
            | tfgpu-tui --set jit_compile=off train.py""",
            "Where kernels are compiled for a new GPU: a TensorFlow built for it; the driver keeps them until then.",
        ),
        harmless="In a run of hours: it happens once.",
        limits=(
            Limit("from {} on", SLOW_START_S, units.duration),
            Limit("and from {} of the wall time of a run that has ended", SLOW_START_SHARE, units.share),
        ),
        knobs=("jit_compile=off",),
        demo="demo/slow_start.py",
        demo_note="by XLA; on a quick machine give it more layers: demo/slow_start.py 120",
    ),
    Entry(
        id="run.stalled",
        means="no step comes, and nothing computes",
        ends_run=True,
        seen="""The progress bar does not move, CPU and GPU are idle, and there is no error. Or it never showed a first
        step.""",
        why="""Somebody waits for somebody who does not come. The most frequent: Keras' workers
        (use_multiprocessing=True) are forked from a process whose TensorFlow already runs, and __getitem__ calls
        TensorFlow; a fork copies one thread alone, so the worker waits for ever for threads that it does not have.
        Also: a lock that is never released, an empty queue, a connection without a timeout, a network mount that is
        gone, a worker of a distributed training that died or has fewer batches than the others.""",
        signal="""The time since the last step of any kind (training, validation, predict), less the time in which the
        script or the machine was suspended, or a debugger had it. While none comes, a look every few seconds at
        processor time, GPU, bytes read and written, elements in the input pipeline, threads that get no turn on the
        CPU: what moves is no standstill. Where everybody stands is asked of the agents in the script and in its
        workers, and of /proc; nothing is stopped for that. A run that ends like that keeps it in its report.""",
        steps=(
            "Read the lines from the top: what the training waits in, who feeds it, where the workers stand.",
            """TensorFlow in a forked worker: only NumPy and Pillow in __getitem__, or threads:
            | super().__init__(workers=4, use_multiprocessing=False)""",
            """Or start the workers as new programs, before anything else, with the script's own work under
            `if __name__ == "__main__":`.
            | import multiprocessing
            | multiprocessing.set_start_method("spawn")""",
            """Give each wait of your own a limit, so that it says what it waited for.
            | batch = ready.get(timeout=60)
            | urllib.request.urlopen(url, timeout=60)""",
            """See the C++ side, too (pip install py-spy):
            | py-spy dump --native --pid PID""",
        ),
        harmless="""Where it is meant to wait, for a service or a person: a larger --stall-after (stall_after in the
        configuration file), or 0 for never. What was over by itself stays as information. A wait that keeps the CPU or
        the GPU busy, as NCCL's, is not seen.""",
        limits=(
            Limit("asked after {} without a step (--stall-after)", STALL_AFTER_S, units.duration),
            Limit("and after {} times the 95th percentile of a step", STALL_STEPS),
            Limit("{} times as long in validation, callbacks, and where the script's loop sleeps", PATIENCE),
            Limit("{} of that time where the run fails, or is ended, meanwhile", AT_END, units.share),
            Limit("nothing computes below {} of a core", COMPUTING_PERCENT, units.percent),
        ),
        demo="--stall-after 10 demo/stalled_worker.py",
        demo_note="it ends itself after a minute",
    ),
    Entry(
        id="run.other_backend",
        means="Keras computes with JAX or PyTorch, not TensorFlow",
        seen="""Steps and callbacks are shown; input wait, placement and TensorFlow's memory are not.""",
        why="""Keras 3 runs on three backends, and takes the one in KERAS_BACKEND, or in ~/.keras/keras.json, which some
        other project may have written once. The script imports keras and trains; nothing says which one computes.""",
        signal="""The backend that Keras names after its import, in the script's process. Findings about TensorFlow's
        GPUs are then not made: they are not the question.""",
        steps=(
            """If TensorFlow is meant:
            | export KERAS_BACKEND=tensorflow""",
            """And look into the file that has it for good:
            | cat ~/.keras/keras.json""",
            "If the other backend is meant: its own profiler tells more than this tool can.",
        ),
        harmless="Where it is meant: it only says why some panes stay empty.",
        demo_note="it needs another framework; KERAS_BACKEND=jax tfgpu-tui demo/healthy.py shows it where JAX is "
        "installed",
    ),
    Entry(
        id="run.no_steps",
        means="no training step was seen",
        seen="""The step pane says what the script is doing, and no step comes; at the end "No training step was
        seen".""",
        why="""One of these: the script does not train (it only evaluates, or prepares data); it stopped before; its
        interpreter has no TensorFlow; the agent did not come into it (python -I, -E and -S ignore PYTHONPATH, and so
        does a program that clears its environment before it starts another Python); or its loop is of a kind that is
        not known.""",
        signal="""The agent looks for Keras' fit and train_on_batch, an optimizer's apply, loops over tf.data, what a
        ClusterCoordinator schedules, and sessions of TensorFlow 1. None of them was met; the finding says which phases
        were seen, and which of its hooks are off.""",
        steps=(
            """Is it the right interpreter?
            | tfgpu-tui --python /path/to/env/bin/python train.py""",
            "Start the script itself, not a shell script that starts Python with -I or without its environment.",
            "If it does train, and steps are not seen: that is worth a report, with the loop in a few lines.",
        ),
        harmless="""As information, where other steps were seen: an evaluation is no training. It is never said of a
        process that waits in the join of a tf.distribute.Server (a parameter server, a worker of a ClusterCoordinator)
        or of a tf.data service: that one serves, and trains nothing itself.""",
        limits=(Limit("said of a running script after {}", NO_STEPS_AFTER_S, units.duration),),
        demo="demo/no_training.py",
    ),
    Entry(
        id="run.multi_gpu_idle",
        means="some of the GPUs are idle, or hold the others back",
        seen="""One GPU works, the others are at 0 % with their memory taken: "1 of 8 works" in the GPU pane. Or all
        work, and one has a much lower clock.""",
        why="""TensorFlow takes all GPUs that it sees, and reserves memory on each; it computes on the first, unless a
        strategy spreads the work. Nobody else can use the idle ones meanwhile.

        With a strategy every step ends with the slowest replica. A GPU that is hot or at its power limit lowers its
        clock, and all others wait for it.""",
        signal="""GPU busy of each GPU that TensorFlow lists, over the training; and clocks with the driver's own
        reasons for throttling, of GPUs of one kind. GPUs that this run does not see are not its business.""",
        steps=(
            """Use them all:
            | strategy = tf.distribute.MirroredStrategy()
            | with strategy.scope():
            |     model = make_model()
            |     model.compile(…)
            | model.fit(dataset.batch(64 * strategy.num_replicas_in_sync))""",
            """Or leave them to others:
            | CUDA_VISIBLE_DEVICES=0 python train.py""",
            """A slow one: see why, then cooling or its power limit.
            | nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE""",
        ),
        harmless="""Where the other GPUs are taken on purpose (a second model that is not running yet). Where no GPU
        works, something else is the matter, and this is not said.""",
        limits=(
            JUDGED,
            Limit("judged after {} of training", LOOKED_AT_S, units.duration),
            Limit("idle below {} busy", IDLE_PERCENT, units.percent),
            Limit("while another one is {} busy or more", WORKING_PERCENT, units.percent),
            Limit("slow below {} of the median clock of the others", SLOW_CLOCK, units.share),
        ),
        demo="replay demo/recordings/eight-gpus-one-used.jsonl",
        demo_note="a real training, with simulated GPUs",
    ),
)
