"""Family E: memory of the GPU and of the host (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.diagnose.gpu_growth import PEAK_SHARE, WEIGHTY
from tfgpu_tui.diagnose.gpu_run import FOREIGN_BUSY_PERCENT, FOREIGN_BYTES, FOREIGN_SHARE, FOREIGN_WARNING_SHARE
from tfgpu_tui.diagnose.growth_by_training import LARGE_BYTES, LARGE_SHARE, MIN_TRAININGS
from tfgpu_tui.diagnose.host_growth import EXPLAINS_SHARE, MIN_GROWTH_BYTES, MIN_GROWTH_SHARE, MIN_POINTS, MIN_STEPS
from tfgpu_tui.diagnose.memory import HALF, LOST_BYTES, NEARLY_ALL, TIMES
from tfgpu_tui.diagnose.register.entry import Entry, Limit

ENTRIES = (
    Entry(
        id="memory.preallocated",
        means="the GPU looks full: reserved, and hardly used",
        seen="""nvidia-smi shows nearly all of the memory taken, whatever the model is; a second program on the GPU runs
        out of memory. In the memory pane "reserved" is far above "in use".""",
        why="""Without memory growth TensorFlow takes nearly all free memory of each visible GPU when it first uses it,
        and hands it out itself: that avoids fragmentation, and asks the driver only once. On an H200 of 140 GiB
        (TensorFlow 2.21, driver 580) it took 138 GiB for a model that used 1.7 GiB; another training, which held 2.6
        GiB with growth, took as much without. So a full GPU says nothing about the model, and "TensorFlow takes memory
        as it needs it" is true only with growth.""",
        signal="""Three numbers side by side: what NVML says this run's processes hold, what TensorFlow's allocator says
        its tensors took at most (get_memory_info), and the GPU's total.""",
        steps=(
            """See the real need, without an edit (`g` on the screen, then `r`):
            | tfgpu-tui --set memory_growth=on train.py""",
            """For good, before the first tensor, variable or layer; the same for all GPUs:
            | for gpu in tf.config.list_physical_devices("GPU"):
            |     tf.config.experimental.set_memory_growth(gpu, True)""",
            """Or from outside, which outranks the script:
            | export TF_FORCE_GPU_ALLOW_GROWTH=true""",
            """Or a fixed part, to share a GPU in an orderly way (growth and a limit exclude each other):
            | tf.config.set_logical_device_configuration(
            |     gpu, [tf.config.LogicalDeviceConfiguration(
            |         memory_limit=8192)])               # MiB""",
            "Whether a larger batch fits is told by what is in use, not by what is reserved.",
        ),
        harmless="""Always, on a GPU of your own: it is information. With growth, too, what was taken once is not given
        back before the process ends.""",
        limits=(
            Limit("this run holds {} of the GPU's memory or more", NEARLY_ALL, units.share),
            Limit("and its tensors took {} of that at most", HALF, units.share),
        ),
        knobs=("memory_growth=on",),
        demo="replay demo/recordings/h200-healthy.jsonl",
        demo_note="a real H200",
    ),
    Entry(
        id="memory.fragmented",
        means="far more GPU memory is held than was ever in use",
        seen="""With memory growth on, nvidia-smi shows several times what the memory pane calls "in use", and it grew
        over the first epochs. Later an allocation may fail although enough is free.""",
        why="""TensorFlow's allocator (BFC) takes memory from the driver in regions, each twice the one before, cuts
        them into pieces, and joins neighbours that are free. Tensors of many sizes, some of which live long, leave
        gaps that fit nothing that comes later; then another region is taken. A region is never given back before the
        process ends. Batches and sequences whose shapes change from step to step do that, and so does a model that is
        built anew while the old one still lives.""",
        signal="""What NVML says this run's process holds, against the most that TensorFlow's allocator ever had in use
        (get_memory_info), with growth in force and one process on the GPU. The allocator tells its largest free piece
        only in the dump of an allocation that failed; there memory.oom says it, and that it was fragmented.""",
        steps=(
            """Let the driver hand memory out: it moves and returns what is free.
            | export TF_GPU_ALLOCATOR=cuda_malloc_async
            | tfgpu-tui --set allocator=cuda_malloc_async train.py""",
            """Give tensors few shapes: the last batch dropped, sequences padded to some lengths.
            | dataset.batch(64, drop_remainder=True)
            | dataset.bucket_by_sequence_length(…)""",
            "In loops that build models: keras.backend.clear_session() before the next one.",
        ),
        harmless="""On a GPU of your own, as long as nothing fails: it is information. A process that once needed more,
        for a validation or a first trial of kernels, shows that in its highest use and is not meant.""",
        limits=(
            Limit("held is {} times the most that was in use", TIMES),
            Limit("and {} more than that", LOST_BYTES, units.size),
        ),
        knobs=("allocator=cuda_malloc_async",),
        demo_note="it needs a GPU, and a training whose shapes change",
    ),
    Entry(
        id="memory.foreign",
        means="another process holds the GPU's memory, or its time",
        seen="""The memory pane shows "others". Out of memory with a model that fitted yesterday, or steps that are
        slower at some hours than at others.""",
        why="""A GPU is shared by whoever may open it: a colleague's training, a notebook whose kernel was never shut
        down (it keeps all that TensorFlow reserved), a desktop. Nothing divides its time or memory fairly.""",
        signal="""NVML's list of processes on each GPU that this run uses, less the run's own processes. In a container
        NVML gives numbers of the host: what can't be told apart is not called foreign.""",
        steps=(
            """See whose it is:
            | nvidia-smi
            | ps -fp PID""",
            "If it is yours and forgotten: shut that notebook's kernel down, or kill PID.",
            """Or take a GPU that nobody uses; Enter on the finding does it where there is one.
            | CUDA_VISIBLE_DEVICES=1 python train.py""",
            "If it has to be shared: memory growth, or a memory limit for each (see memory.preallocated).",
        ),
        harmless="""As information: a few hundred MiB of a desktop, or of a process that only sits there.""",
        limits=(
            Limit("said from {} of the GPU's memory on", FOREIGN_SHARE, units.share),
            Limit("and from {} on", FOREIGN_BYTES, units.size),
            Limit("or from {} of its time on", FOREIGN_BUSY_PERCENT, units.percent),
            Limit(
                "a warning from {} of its memory on, from twice that time on, or once memory ran out",
                FOREIGN_WARNING_SHARE,
                units.share,
            ),
        ),
        knobs=("visible_devices=",),
        demo="replay demo/recordings/h200-xla-refused.jsonl",
        demo_note="a real H200, on which other trainings ran at the time; look at its end",
    ),
    Entry(
        id="memory.oom",
        means="memory ran out",
        ends_run=True,
        seen="""ResourceExhaustedError, "OOM when allocating tensor with shape[…]", with pages of an allocator's dump
        before it; the script usually ends.""",
        why="""Four cases look alike, and want four different answers. Too big: one tensor is larger than all that
        TensorFlow may take. Full: the model, its gradients, optimizer and activations really take it all; activations
        grow with the batch. Fragmented: enough is free, in pieces that are too small. No room: TensorFlow may take
        more, and the device has no more, because another process holds it.

        Lines that end in "The caller indicates that this is not a failure" are something else: scratch memory for a
        quick algorithm that did not fit, so a slower one is taken.""",
        signal="""The allocator's dump in the output is read: asked for, in use, limit, size of the pool, largest free
        piece. The case follows from these. The operation's name leads to the layer. Where only the exception was seen,
        the case is not known; what the allocator held a second before stands there, where it was told.""",
        steps=(
            """Full: a smaller batch first; then 16 bits for the activations.
            | model.fit(x, y, batch_size=16)
            | keras.mixed_precision.set_global_policy("mixed_float16")""",
            "Too big: that layer's output, or the batch. Look at its shape: a Flatten before a wide Dense is typical.",
            """Fragmented: let the driver hand memory out.
            | export TF_GPU_ALLOCATOR=cuda_malloc_async""",
            "No room: free the GPU (see memory.foreign), or choose another one.",
            """Whole arrays that fit() copied to the GPU count, too: see input.whole_array_on_gpu. And what a script
            keeps in lists: losses as tensors hold GPU memory.""",
        ),
        harmless="""As a warning: the script caught it and goes on. On the CPU ("mklcpu", "cpu") it is the host's
        memory.""",
        knobs=("allocator=cuda_malloc_async", "precision=mixed_float16"),
        demo="demo/out_of_memory.py",
    ),
    Entry(
        id="memory.growth_overridden",
        means="GPU memory growth is not as asked, or came too late",
        seen="""--set memory_growth=on, and the GPU is full all the same; or set_memory_growth in the script, with
        "Physical devices cannot be modified after being initialized" in a try that hides it.""",
        why="""TensorFlow decides about growth once, when it starts its GPUs: with the first tensor, variable or layer
        that is built. A later call ends in a RuntimeError. TF_FORCE_GPU_ALLOW_GROWTH outranks the call in both
        directions, and only exactly `true` and `false` count: `True` or `1` is ignored, with a line on stderr.""",
        signal="""What was asked for, against what is in force, read back from TensorFlow after the first step; the
        script's call, or its change of the variable, is watched, with its line.""",
        steps=(
            """Call it first, before anything else touches TensorFlow:
            | import tensorflow as tf
            | for gpu in tf.config.list_physical_devices("GPU"):
            |     tf.config.experimental.set_memory_growth(gpu, True)""",
            """Or from outside, where no line can be too early:
            | export TF_FORCE_GPU_ALLOW_GROWTH=true""",
            "If the script sets it otherwise than you want, the evidence has its line.",
            "All GPUs must have the same value, and none a memory limit: either is an error of its own.",
        ),
        harmless="""Where growth does not matter. With cuda_malloc_async there is no growth to set: it takes what it
        needs.""",
        knobs=("memory_growth=on",),
        demo="demo/late_growth.py",
        demo_note="on a machine with a GPU",
    ),
    Entry(
        id="memory.host_growth",
        means="the training's host memory grows and grows",
        seen="""A line in the memory pane that rises and does not level off; after hours the kernel's out-of-memory
        killer ends the script (run.killed), or the machine swaps.""",
        why="""Something is kept that is needed once. The usual ones: losses or predictions collected in a list as
        tensors; a tf.function that is traced again and again, for each trace keeps its graph; models built in a loop,
        whose graphs stay; datasets or iterators made anew in each step; workers of the pipeline that keep what they
        have read.""",
        signal="""The process's own memory, several times a second, over the steps: a median of slopes after the first
        third, and it must still rise at the end, without giving much back in between. Of many trainings, the level of
        each against that of the one before. What grows is looked for in
        Python's containers and in the traces counted; what is not found is said to be not known. The children's memory
        is told apart.""",
        steps=(
            """Keep numbers, not tensors:
            | losses.append(float(loss))      # not: losses.append(loss)""",
            "Stop retracing, if that is named: see host.retracing.",
            """Build and compile a model once, and put its weights back; or one process for each training.
            | first = model.get_weights()
            | for settings in search:
            |     model.set_weights(first)    # the optimizer's, too
            |     model.fit(…)""",
            """Where models must be new:
            | keras.backend.clear_session()   # frees a part of it""",
            "If it is the input's workers: what do they keep from batch to batch? Caches without a limit, open files.",
        ),
        harmless="""Growth that levels off is a buffer or a cache that fills; the first pass of cache() is not judged. A
        few models more on a machine with memory to spare are information.""",
        limits=(
            Limit("judged from {} steps on", MIN_STEPS),
            Limit("and from {} samples on", MIN_POINTS),
            Limit("growth of {} or more", MIN_GROWTH_BYTES, units.size),
            Limit("and of {} of what the process has", MIN_GROWTH_SHARE, units.share),
            Limit("a container is named where it explains {} of it", EXPLAINS_SHARE, units.share),
            Limit("by training: judged from {} trainings on", MIN_TRAININGS),
            Limit("by training: a warning from {} on", LARGE_BYTES, units.size),
            Limit("or from {} of the machine's free memory on", LARGE_SHARE, units.share),
        ),
        demo="demo/memory_leak.py",
    ),
    Entry(
        id="memory.gpu_growth",
        means="what tensors hold on a GPU grows and grows",
        seen="""In the memory pane "in use" rises and does not level off, while nvidia-smi shows the same number all
        the time (what TensorFlow has reserved). After hours, or after some folds or trials, ResourceExhaustedError
        with a model that fitted at first.""",
        why="""Something keeps tensors that are needed once. Within a training: losses, predictions or batches in a
        list, as tensors; a tf.function that is traced again and again, whose graphs keep their constants. In a loop of
        trainings (folds, a tuner): the models before, their optimizers' slots and their functions, as long as anything
        refers to them. A History, a callback, a list of results or Keras' global state is enough.

        del model and gc.collect() free only what nothing else refers to. Nothing gives memory back to the driver
        before the process ends; what counts is what is in use.""",
        signal="""What TensorFlow's allocator holds (get_memory_info, once a second, by the steps), as for the host's
        memory: a median of slopes after warm-up that still rises at the end. It swings within each step, so the most
        that it ever held must have risen as well: a step that always needs as much leaves that where it is. With each
        training: their levels, one after the other.""",
        steps=(
            """Keep numbers, not tensors:
            | losses.append(float(loss))""",
            """Between trainings let go of all of a model, then clear Keras' own state:
            | del model, history
            | keras.backend.clear_session(); gc.collect()""",
            """Safest: a process for each training; its end gives everything back.
            | with multiprocessing.get_context("spawn").Pool(1) as pool:
            |     score = pool.apply(train_one_fold, (fold,))""",
            "Or one model for all: put its first weights and its optimizer's variables back before each.",
        ),
        harmless="""As information: some trainings more with room to spare. A tuner that tries larger and larger models
        looks alike.""",
        limits=(
            Limit("judged from {} steps on", MIN_STEPS),
            Limit("and from {} readings on, one a second", MIN_POINTS),
            Limit("growth of {} or more", MIN_GROWTH_BYTES, units.size),
            Limit("and the highest use grew by {} of that or more", PEAK_SHARE, units.share),
            Limit("by training: judged from {} trainings on", MIN_TRAININGS),
            Limit("by training: a warning from {} of the GPU's memory on", WEIGHTY, units.share),
        ),
        demo="demo/gpu_memory_leak.py",
        demo_note="on a machine with a GPU",
    ),
)
