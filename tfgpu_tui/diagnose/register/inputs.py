"""Family C: the step waits for input (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.diagnose.epoch_starts import FILLS, MIN_EPOCHS, WHOLE
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE
from tfgpu_tui.diagnose.host_edges import LARGE_ARRAY_BYTES, NOTICEABLE_PAUSE_S
from tfgpu_tui.diagnose.input_causes import DOMINATES
from tfgpu_tui.diagnose.input_copies import MIN_BYTES
from tfgpu_tui.diagnose.input_lost import SPENT_SHARE
from tfgpu_tui.diagnose.input_machine import FULL, IDLE_WAIT, OWN, THROTTLED_PERCENT
from tfgpu_tui.diagnose.input_storage import MIN_LOOKS, READ_BYTES_PER_STEP, SEEN
from tfgpu_tui.diagnose.input_wait import HIDDEN_BUSY_PERCENT, SECOND_SIGN, SHORT_STEP_S
from tfgpu_tui.diagnose.register.entry import A_WARNING, JUDGED, SHARES, Entry, Limit
from tfgpu_tui.diagnose.stages import EXPLAINS

_BESIDE = "stands beside input.bound, which says how much waits; this says why"
_LIVE_MODEL = """Stage times are tf.data's own: the live model of its autotuner (get_model_proto), read during the
    training. TensorFlow 2.15 and 2.16 have none, nor has a pipeline whose autotune is off; the finding is then not
    certain."""
_STAGE = (
    JUDGED,
    A_WARNING,
    Limit("the stage takes {} or more of the pipeline's time for a batch", DOMINATES, units.share),
    Limit("the stages together explain the wait: they take {} of it or more", EXPLAINS, units.share),
)
_PAUSE = (
    Limit("judged from {} epochs on, after the first", MIN_EPOCHS),
    Limit("a warning from {} of the epochs' time", WARNING_SHARE, units.share),
    Limit("critical from {} of the epochs' time", CRITICAL_SHARE, units.share),
)

ENTRIES = (
    Entry(
        id="input.bound",
        means="the training waits for its next batch",
        seen="""A large share "input wait" in the step pane. With a GPU, GPU busy has gaps at the same places. A bigger
        GPU, mixed precision or XLA change nothing: the model is not what is slow.""",
        why="""Reading, decoding and augmenting a batch takes longer than the model needs for one, or does not run
        beside it. tf.data can do both at once: it prepares later batches in threads of its own while the model
        computes. That works where the stages are TensorFlow operations, run in parallel, and nothing in between holds
        them up.

        Two folk tales: that a longer prefetch buffer makes a slow pipeline faster (it evens out what comes unevenly),
        and that each pipeline lacks prefetch and parallel maps until they are written out (tf.data adds a prefetch at
        the end, and makes maps without state parallel, by itself, unless autotune is switched off). What is left is
        mostly Python in the pipeline, one stage that is serial by its nature, too few cores, or storage.""",
        signal="""The time in which the loop was blocked in the iterator's next(), measured around it: inside of Keras'
        compiled train function by two clocks in the graph, in an own loop around the call. Times between callbacks,
        which are often shown instead, miss it: Keras fetches the batch within its train function. The slow stage is the
        one with the longest time for a batch. What no signal confirms (replicas that compete for the cores) is
        information, and called an upper bound.""",
        steps=(
            """Read the line of the slowest stage: it has the function, the file and the line. The findings beside this
            one (input.slow_stage, input.python, input.storage, input.cpu_starved, …) say what is wrong with it.""",
            """See what is to be gained before you work on it: free input, without an edit.
            | tfgpu-tui --set input=synthetic train.py""",
            """Write the pipeline so that it can run in parallel:
            | dataset = (
            |     tf.data.Dataset.from_tensor_slices(files)
            |     .map(load, num_parallel_calls=tf.data.AUTOTUNE)
            |     .cache()                    # if it fits in memory
            |     .shuffle(1000)
            |     .batch(64)
            |     .prefetch(tf.data.AUTOTUNE)
            | )""",
            "Do once what is the same each time: decode and resize before the training, and keep TFRecord files.",
            """If no stage is to blame and steps are short, handing a batch over is the cost: a larger batch, or
            | model.compile(…, steps_per_execution=32)""",
        ),
        harmless="""Below the limits: some waiting is normal. If the GPU stays busy meanwhile it is input.hidden, and no
        loss.""",
        limits=(
            *SHARES,
            Limit(
                "an upper bound counts where the slowest stage needs {} of a step for a batch", SECOND_SIGN, units.share
            ),
            Limit("steps are short below {}", SHORT_STEP_S, units.duration),
        ),
        knobs=("input=synthetic", "input=parallel", "input=prefetch", "steps_per_execution=32"),
        demo="demo/slow_map.py",
    ),
    Entry(
        id="input.slow_stage",
        means="one stage handles one element at a time",
        seen=f"""In the pipeline pane one map is marked as the slow one, with "1 at a time". It {_BESIDE}.""",
        why="""A map without num_parallel_calls is parallel all the same where its function has no state: tf.data's
        optimizer does that by itself, so the usual advice is idle there. It does not where the function calls Python
        (py_function, numpy_function) or has other state, or where autotune is off. Then each element waits for the one
        before, though most of the time may be waiting itself: for a file, a network, a sleep.""",
        signal=f"""The live pipeline says Map (not ParallelMap) with one call at a time, and most of the time.
        {_LIVE_MODEL} For a function of Python it is said only where no core is busy in most of the waiting: Python that
        computes would not gain, and is input.python.""",
        steps=(
            """Give the map parallel calls; the order of the elements stays:
            | dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)""",
            """Try that without an edit, on all maps at once:
            | tfgpu-tui --set input=parallel train.py""",
            "If it reads files: interleave() over the names reads several at once.",
            "If elements are tiny, batch first and map whole batches.",
        ),
        harmless="Where the model does not wait: a slow stage that is hidden behind the computation costs nothing.",
        limits=(*_STAGE, Limit("no core is busy in {} or more of the waiting", IDLE_WAIT, units.share)),
        knobs=("input=parallel",),
        demo="replay demo/recordings/cpu-input-bound.jsonl",
        demo_note="the training is demo/slow_map.py; on a machine whose cores are busy it may be input.python",
    ),
    Entry(
        id="input.python",
        means="Python makes the batches, one thread at a time",
        seen=f"""A stage with "Python" in the pipeline pane: a generator, a py_function or numpy_function, a PyDataset.
        About one core is busy however many there are. It {_BESIDE}.""",
        why="""from_generator, py_function, numpy_function and Keras' adapters for generators call back into the Python
        of the training. Its interpreter lock (GIL) is held by one thread at a time, and the training loop itself needs
        it, too. More parallel calls then only help where the function waits (files, a network) or computes in a library
        that lets go of the lock, as NumPy and Pillow do for larger pieces.

        A Python generator can't run in parallel at all: there is one, and it gives one element at a time.""",
        signal=f"""The stage runs Python and takes most of the pipeline's time; the calls of the function are timed, and
        its lines are seen ten times a second, so that the evidence names where to begin. {_LIVE_MODEL} Whether it
        computes or waits is told by how many cores the training uses; where all cores are busy it can't be told, and is
        said.""",
        steps=(
            """Write it with TensorFlow operations, if they exist: they need no lock.
            | image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
            | image = tf.image.resize(image, (224, 224))""",
            """If it must be Python: a PyDataset whose workers are processes, each with a lock of its own (Keras 3).
            | class Batches(keras.utils.PyDataset):
            |     def __init__(self, files):
            |         super().__init__(workers=4, use_multiprocessing=True)
            |     def __len__(self): ...
            |     def __getitem__(self, index): ...   # a whole batch""",
            """In Keras 2 the same is a keras.utils.Sequence, and the numbers go to fit:
            | model.fit(batches, workers=4, use_multiprocessing=True)""",
            "Do more in each call: whole batches, NumPy over the batch and not over each row.",
            "Or do it once, before the training, and write TFRecord files.",
        ),
        harmless="Where the model does not wait for it.",
        limits=_STAGE,
        knobs=("input=parallel",),
        demo="demo/python_generator.py",
    ),
    Entry(
        id="input.pydataset_single",
        means="a PyDataset makes one batch at a time",
        seen=f"""The dataset is a PyDataset (Keras 2: a Sequence) with workers=1, and the step waits. It {_BESIDE}.
        Keras' own iterators over image folders are PyDatasets, too.""",
        why="""workers=1 is the default in Keras 3 as in Keras 2. Old answers write fit(workers=8): in Keras 3 fit has
        no such argument, it belongs to the dataset's own __init__. A class that does not pass **kwargs on, or does not
        call super().__init__, stays at one worker whatever is asked for.

        Threads help where __getitem__ waits; where it computes in Python they share one lock, and processes are
        needed.""",
        signal="""The attribute `workers` of the object that fit was given, and the share of the step that waits; the
        time of __getitem__ is measured, and its lines are seen.""",
        steps=(
            """In the class (Keras 3):
            | def __init__(self, files, **kwargs):
            |     super().__init__(workers=4, use_multiprocessing=True,
            |                      max_queue_size=10, **kwargs)""",
            """For an object of a library, before fit:
            | batches.workers = 4
            | batches.use_multiprocessing = True""",
            """In Keras 2 (TensorFlow 2.15, tf_keras):
            | model.fit(batches, workers=4, use_multiprocessing=True,
            |           max_queue_size=10)""",
            """Processes copy the object: open files and GPU tensors do not belong into it. Scripts that start processes
            need
            | if __name__ == "__main__":""",
        ),
        harmless="Where the model does not wait: one worker is enough then, and the simplest.",
        limits=(JUDGED, A_WARNING),
        demo="demo/pydataset_single.py",
    ),
    Entry(
        id="input.no_prefetch",
        means="nothing prepares the next batch meanwhile",
        seen=f"""Waiting and computing take turns, step by step, though each could run beside the other. It
        {_BESIDE}.""",
        why="""prefetch puts a buffer and a thread at the end of the pipeline, so that the next batch is made meanwhile.
        tf.data adds one by itself where the script has none (the option inject_prefetch, under autotune), so the usual
        advice to add prefetch is idle for most pipelines. Scripts that switch autotune off, or that option, lose it:
        often a line that was copied from a benchmark, or from an answer about memory.""",
        signal="""The pipeline's own options say that autotune or inject_prefetch is off, and no stage of it is a
        prefetch. At most the shorter of waiting and computing can be saved, and that is the share by which it is
        ranked.""",
        steps=(
            """End the pipeline with it:
            | dataset = dataset.batch(64).prefetch(tf.data.AUTOTUNE)""",
            """Or take the option out:
            | options = tf.data.Options()
            | options.autotune.enabled = False    # this line""",
            """Try it without an edit:
            | tfgpu-tui --set input=prefetch train.py""",
        ),
        harmless="""Where the options are TensorFlow's defaults it is never said, whatever the pipeline looks like.""",
        limits=(JUDGED, A_WARNING),
        knobs=("input=prefetch",),
        demo="demo/no_prefetch.py",
    ),
    Entry(
        id="input.storage",
        means="the pipeline waits for a disk or a network",
        seen=f"""Cores idle, GPU idle, and bytes come in at a steady rate, in the finding's title. Its lines name the
        folder whose files are read, and the file system that it lies on. It {_BESIDE}.""",
        why="""Each file costs one round trip, whatever its size: some milliseconds on a network file system, an object
        store that is mounted by FUSE, or a drive of the host's in a virtual machine (9p: WSL's /mnt/c). One file after
        the other, 64 images a batch are 64 of those. Many small files also defeat the read-ahead of the system. It is
        no lack of bandwidth in most cases, but of requests in flight.""",
        signal="""The slow stage reads files, or is Python (which may); no core is busy in most of the waiting; and the
        training's processes read bytes from a disk in each step, or the machine receives some from a network. Which of
        the two gave more is named. What network and FUSE file systems give is not all counted as a disk's: there it is
        what the processes read at all.

        The folders are those of files that the processes have open for reading, as the kernel lists them, in up to two
        looks a second while steps wait; their mount and file system, too, as each process itself sees them. The files
        are not touched. A file that is open for a moment only may never be seen.""",
        steps=(
            """Ask for several at once:
            | dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
            | dataset = tf.data.Dataset.from_tensor_slices(files).interleave(
            |     tf.data.TFRecordDataset,
            |     num_parallel_calls=tf.data.AUTOTUNE,
            | )""",
            "Keep the data in few large files (TFRecord, 100 MB and more each), not in one for each example.",
            """Copy it to a local disk first, where one is large enough; under WSL into Linux' own file system.
            | cp -r /mnt/nfs/data $TMPDIR/data
            | cp -r /mnt/c/data ~/data""",
            """If it fits in memory, read it once:
            | dataset = dataset.map(decode).cache()    # before shuffle""",
        ),
        harmless="Where the model does not wait; and in a first epoch that fills a cache.",
        limits=(
            *_STAGE,
            Limit("no core is busy in {} or more of the waiting", IDLE_WAIT, units.share),
            Limit("{} or more come in at each step", READ_BYTES_PER_STEP, units.size),
            Limit("a folder is named from {} looks that saw it", MIN_LOOKS),
            Limit("and from {} of all looks", SEEN, units.share),
        ),
        knobs=("input=parallel",),
        demo="demo/remote_files.py",
    ),
    Entry(
        id="input.cpu_starved",
        means="too few cores for the input pipeline",
        seen=f"""The slow stage runs several elements at a time and would run more; all cores that the training may use
        are busy, or "throttled" stands in the CPU pane. It {_BESIDE}.""",
        why="""A GPU job needs cores for its input: decoding JPEG takes some milliseconds of a core for each image.
        Schedulers give one core by default; containers get a quota (cpu.max) that programs don't see: they count the
        machine's cores, start as many threads, and are stopped by the kernel for a part of each period.

        It can also be somebody else's load: then the machine is full while the training itself uses few cores.""",
        signal="""Cores granted (affinity, cgroup quota), cores used by the training's processes, how busy the granted
        ones are, and the share of time in which the quota stopped it. A stage that is serial, or Python, is not
        starved: more cores would not help it.""",
        steps=(
            """Ask for more:
            | docker run --cpus 8 …
            | sbatch --cpus-per-task=8 …
            | # Kubernetes: resources: limits: cpu: 8""",
            "If others use the machine: end their work, or go where nobody is (ps aux --sort=-%cpu names them).",
            """Make the batches cheaper: decode and resize once, keep the result.
            | dataset = dataset.map(decode, tf.data.AUTOTUNE).cache()""",
            "Fewer threads, if there are many more than cores: --set threads=4 tries it.",
        ),
        harmless="Where the model does not wait; full cores alone are no fault.",
        limits=(
            JUDGED,
            A_WARNING,
            Limit("cores are full from {} on", FULL, units.share),
            Limit("others use the rest where the training has below {} of its cores", OWN, units.share),
            Limit("a quota counts from {} of the time on", THROTTLED_PERCENT, units.percent),
        ),
        demo="demo/cpu_starved.py",
    ),
    Entry(
        id="input.shuffle_refill",
        means="a shuffle buffer fills before each epoch",
        seen="""A long wait before the first batch of each epoch, then a quick training; "Filling up shuffle buffer
        (this may take a while)" on stderr.""",
        why="""shuffle(n) keeps n elements and gives out a random one, so it must have n before the first comes out; and
        it begins anew at each epoch. What stands before it is done for all of them: with decoded images that is reading
        and decoding of nearly everything. "Use the size of the data set as the buffer", which is often advised, is
        right for file names and wrong for images.""",
        signal=f"""The wait of the first step of each epoch, apart from that of all other steps; a shuffle among the
        stages; and the time that the stages before it need for so many elements. {_LIVE_MODEL}""",
        steps=(
            """Shuffle names, not images:
            | dataset = tf.data.Dataset.from_tensor_slices(files)
            | dataset = dataset.shuffle(len(files)).map(load, tf.data.AUTOTUNE)""",
            """Or keep what is decoded, if it fits in memory:
            | dataset = dataset.map(load, tf.data.AUTOTUNE).cache().shuffle(n)""",
            "Or a smaller buffer: a few batches' worth, where the files are in random order already.",
            """Or one iterator for all epochs, which fills once:
            | model.fit(dataset.repeat(), steps_per_epoch=n)""",
        ),
        harmless="Where epochs are long: seconds in an hour are below the limit. The first epoch is never judged.",
        limits=(
            *_PAUSE,
            Limit("the stages before the shuffle explain {} of the pause or more", FILLS, units.share),
            Limit(
                "without stage times: the buffer holds {} of the data or more, else it is not certain",
                WHOLE,
                units.share,
            ),
        ),
        demo="demo/shuffle_refill.py",
    ),
    Entry(
        id="input.epoch_start",
        means="each epoch begins with a wait for its first batch",
        seen="""Short epochs that each begin with a wait; within the epoch the input is fast enough.""",
        why="""Keras makes a new iterator for each epoch, so the pipeline starts anew: files are opened, an index is
        read, a generator runs its beginning again, worker processes are started, buffers are empty. In an hour's epoch
        nobody sees it; in epochs of a few seconds it is a large part.""",
        signal="""The wait of the first step of each epoch, apart from that of all other steps, in epochs after the
        first; no shuffle among the stages, or one that fills much too quickly to explain it.""",
        steps=(
            """One iterator for all epochs:
            | model.fit(dataset.repeat(), steps_per_epoch=n, epochs=10)""",
            """Make the beginning cheap: read an index once, outside of the generator's function.
            | index = read_index(path)            # once
            | def rows():
            |     for row in index: ...           # at each epoch""",
            "Or longer epochs: several passes over the data in each.",
        ),
        harmless="Where epochs are long. Validation at the end of an epoch is not counted here (host.validation).",
        limits=(*_PAUSE, Limit("pauses from {} on", NOTICEABLE_PAUSE_S, units.duration)),
        demo="demo/epoch_start.py",
    ),
    Entry(
        id="input.whole_array_on_gpu",
        means="fit() copied its whole arrays to the GPU",
        seen="""GPU memory in use jumps by about the size of the data as fit begins; a model that should fit runs out of
        memory, sometimes before its first step (in _EagerConst).""",
        why="""fit(x, y) with NumPy arrays makes a tf.data pipeline of them, and the arrays become tensors first: on the
        device that TensorFlow prefers, which is the GPU. The same is reported of
        tf.data.Dataset.from_tensor_slices(array) outside of a CPU scope since TensorFlow 2.17. It makes slicing fast,
        and takes the memory for the whole training.""",
        signal="""TensorFlow's allocator on that device before and after Keras took the arrays: it grew by about as much
        as they hold.""",
        steps=(
            """Make the dataset on the CPU, and let batches go over one by one:
            | with tf.device("CPU:0"):
            |     dataset = tf.data.Dataset.from_tensor_slices((x, y))
            | model.fit(dataset.shuffle(len(x)).batch(64).prefetch(2))""",
            "Or a keras.utils.PyDataset that slices the array in __getitem__.",
            "If it does not fit in host memory either: numpy.memmap, or files.",
        ),
        harmless="""Where memory is plenty: then it is the fastest input there is, and the warning only tells where the
        memory is.""",
        limits=(Limit("said of arrays of {} or more", LARGE_ARRAY_BYTES, units.size),),
        demo_note="it needs a GPU, and arrays of some hundred MiB",
    ),
    Entry(
        id="input.copy_bound",
        means="the GPU waits while its batch is copied to it",
        seen="""Input wait is small, GPU busy has gaps, and "copies between devices" is a large part of compute in the
        step pane. PCIe traffic to the GPU is high in bursts.""",
        why="""tf.data makes batches in the host's memory. Keras hands them to the step as they are, so the copy to the
        GPU is the first thing in it, and the first layer waits for that. Batches of images in float32 are four times as
        large as the same in uint8: 64 images of 224 x 224 are 38 MB, 5 ms over a link of 8 GB/s, which is a PCIe 3
        link of eight lanes, or any link where the memory is not pinned (the driver then copies it twice; on an H200
        with PCIe 5 and 16 lanes such a copy ran at 9 GB/s).""",
        signal="""A profile of a few steps: the time in copies from host to device during which no kernel ran on that
        GPU, as a share of the step; their bytes, and whether their memory was pinned. The rate is set against what the
        link carries by its generation and lanes, as NVML tells them. A copy beside kernels costs nothing and does not
        count.""",
        steps=(
            """Send bytes, and make floats of them on the GPU:
            | images = tf.io.decode_jpeg(data)          # uint8, in the pipeline
            | keras.layers.Rescaling(1 / 255)           # first layer of the model""",
            """In an own loop, copy the next batch while this one is computed:
            | dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))""",
            "Data that fits into the GPU's memory can stay there: one tensor on the GPU, and tf.gather from it.",
            """If the link is slower than the GPU's best (`gpu.link_degraded`), that comes first.""",
        ),
        harmless="Below the limits.",
        limits=(*SHARES, Limit("only where {} or more are copied in a step", MIN_BYTES, units.size)),
        demo_note="it needs a GPU: large float32 batches for a small model",
    ),
    Entry(
        id="input.ran_out",
        means="epochs end early: there is no more data",
        seen="""Keras warns once, "Your input ran out of data; interrupting training", and its progress bar shows the
        number that was asked for all the same (60/60 after 40 steps). Each second epoch may be short, or empty, with a
        loss of 0.""",
        why="""With steps_per_epoch, Keras goes on in the same pass over the data where the last epoch stopped. A
        tf.data.Dataset without repeat() ends in the middle of an epoch, and the next one begins a new pass; a Python
        generator that has ended gives nothing ever again. The training sees less data than it looks, and the learning
        rate's schedule, counted in planned steps, does not fit any more.""",
        signal="""Steps that each epoch of a fit was to have beside those that it had, both from Keras; where none were
        asked for, an epoch with under a tenth of the first one's. A fit that was asked to stop (EarlyStopping, a
        callback, an exception) ends its last epoch early, too, and is no finding.""",
        steps=(
            """Leave steps_per_epoch out where the data set has an end: an epoch is then all of it.
            | model.fit(dataset, epochs=10)""",
            """Or let it go round, and say how long an epoch is.
            | model.fit(dataset.repeat(), steps_per_epoch=500, epochs=10)""",
            """Let a generator begin anew by itself.
            | def rows():
            |     while True:
            |         for x, y in read_all(): yield x, y""",
        ),
        harmless="Where the last epoch alone may be shorter, and the schedule does not count steps.",
        limits=(Limit("without declared steps: less than {} of the first epoch's steps", SPENT_SHARE, units.share),),
        demo="demo/ran_out.py",
    ),
    Entry(
        id="input.hidden",
        means="the loop waits, yet the GPU stays busy: no loss",
        seen="""Input wait is high, and so is GPU busy.""",
        why="""Python starts the GPU's work and goes on before it is done: the train function returns while kernels are
        still queued. The loop then waits for its next batch while the GPU has enough to do. A shorter wait would only
        be spent at another place, waiting for the GPU.""",
        signal="""The share of the step that waits, beside NVML's GPU busy over the time of training, of the GPUs that
        this run uses.""",
        steps=(
            "Nothing about the input.",
            """If steps should be faster, the GPU's own work is where to look: what it computes in (see
            precision.unused_tensor_cores), and time by layer.
            | tfgpu-tui --set profile=5 train.py""",
        ),
        harmless="""Always. GPU busy is the share of time in which any kernel ran, not how much of the GPU it used: many
        small kernels keep it at 100 %, too.""",
        limits=(JUDGED, Limit("GPU busy is {} or more", HIDDEN_BUSY_PERCENT, units.percent)),
        demo_note="it needs a GPU with enough queued work",
    ),
)
