"""Family B: the GPU is visible, the work is elsewhere, or done in a way that the GPU is bad at (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE
from tfgpu_tui.diagnose.placement import NOTICEABLE_BYTES
from tfgpu_tui.diagnose.precision import BUSY_PERCENT, FLOAT64_SHARE, MANY_PARAMETERS, MOST
from tfgpu_tui.diagnose.register.entry import JUDGED, Entry, Limit

_MEASURED = (
    Limit("where the time per layer was measured (`p`, or --set profile=5): a warning from {} of it", WARNING_SHARE,
          units.share),
    Limit("critical from {} of it", CRITICAL_SHARE, units.share),
)  # fmt: skip
_PREDICTED = """Without a GPU the same is predicted, from a table that was made of the registry of that version's
    GPU build: it is then information, for nothing of it costs anything here. (On an H200 what was predicted so
    came true.)"""
_FINAL_GRAPH = """The devices are those of the final graph, after TensorFlow's placer and its optimizer, read once as
    the training function is made; each operation is joined to the layer that made it."""

ENTRIES = (
    Entry(
        id="place.pinned_cpu",
        means="layers are pinned to the CPU, beside a GPU",
        seen="""In the placement pane these layers stand on CPU:0 with the word "pinned", between others on GPU:0. GPU
        busy has gaps, and copies go to and fro in every step.""",
        why="""`with tf.device("/CPU:0")` is an order, and TensorFlow obeys it whether or not it is wise. Most such
        scopes were written for another machine, or to save GPU memory for one large embedding.

        What the scope must stand around is often mistaken: around the making of a Keras 3 layer it does nothing for its
        computation, around the call it moves the forward operations, and the gradients may still be elsewhere. A step
        that XLA compiles is on one device as a whole, whatever a scope in it says; Keras 3 compiles so on a GPU by
        itself.""",
        signal=f"""{_FINAL_GRAPH} The device that the script asked for is compared with the one that other layers have.
        Only layers with weights, or with work that a GPU is bought for (products, convolutions, attention), count:
        counters may live on the CPU.""",
        steps=(
            "Take the scope away around the layers that the finding names.",
            """If memory was the reason: first see what is in use (memory pane), then decide.
            | tf.config.experimental.get_memory_info("GPU:0")""",
            "If it was the input: a CPU scope belongs around the dataset, not around the model.",
        ),
        harmless="""Where it is meant, and the layer is cheap: measure it with `p`, and it is information if its share
        is small. A huge embedding of which a step reads a few rows may be right on the CPU.""",
        limits=_MEASURED,
        demo="demo/two_devices.py",
        demo_note="a prediction without a GPU, a warning with one",
    ),
    Entry(
        id="place.no_gpu_kernel",
        means="operations without a GPU kernel run on the CPU",
        seen="""In the placement pane the layer's row says "no GPU kernel" with the names of the operations; its forward
        operations are split over CPU:0 and GPU:0. Each step copies tensors to the CPU and back.""",
        why="""Not everything is written for GPUs. Of 1536 operation types with kernels in TensorFlow 2.21, 716 have
        them for the CPU only: all work with strings, lookup tables, tf.unique, ragged to dense, random shuffles,
        py_function, JPEG and PNG decoding. With soft placement, which is the default in TensorFlow 2, such an operation
        moves to the CPU without a word.

        With XLA it does not move, it fails: Keras 3 compiles the step on a GPU by itself (jit_compile="auto"), and a
        layer of your own with such an operation then ends the run (xla.unsupported_op). Keras' own text layers say of
        themselves that they can't be compiled, and so switch XLA off for the whole model.""",
        signal=f"""{_FINAL_GRAPH} The reason comes from TensorFlow's registry of kernels, by operation and dtype.
        {_PREDICTED}""",
        steps=(
            """Do this work in the input pipeline: there it runs beside the GPU, for the next batch.
            | dataset = dataset.map(lambda x, y: (vectorize(x), y),
            |                       num_parallel_calls=tf.data.AUTOTUNE)
            | dataset = dataset.prefetch(tf.data.AUTOTUNE)""",
            """Text and category layers of Keras may be called in dataset.map as they are.""",
            """If it has to stay in the model, and XLA refuses it:
            | model.compile(…, jit_compile=False)""",
            "Measure with `p` before and after: copying less may be worth more than the operation itself.",
        ),
        harmless="""Where the operations are few and small: then the copies cost microseconds. Operations on shapes and
        counters in host memory are no such case, and are not named.""",
        limits=_MEASURED,
        knobs=(),
        demo="demo/no_gpu_kernel.py",
        demo_note="a prediction without a GPU",
    ),
    Entry(
        id="place.dtype_no_kernel",
        means="a dtype without a GPU kernel runs on the CPU",
        seen="""As without any kernel: the row of the layer is split, and its reason names the operation with the dtype,
        for example "Mean for int32".""",
        why="""Kernels are registered for each dtype by itself. Integers are the usual surprise: MatMul, Einsum, Mean,
        MaxPool and ResizeBilinear have no integer kernel for the GPU in TensorFlow 2.21, AddV2, GatherV2, Cast, Cumsum
        and TopKV2 have one. float64 loses the GPU for nine operations (SparseSoftmaxCrossEntropyWithLogits,
        SpaceToDepth, Bincount, Mod, …), float16 for some sixteen (Where, NonMaxSuppression, MatrixInverse, …). Images
        that were left as uint8 and means over integer masks are typical.""",
        signal=f"""{_FINAL_GRAPH} The reason comes from the registry of kernels. {_PREDICTED}""",
        steps=(
            """Cast before the operation that is named:
            | mean = tf.reduce_mean(tf.cast(mask, tf.float32), axis=1)""",
            "If the dtype is string, no cast helps: do it in the input pipeline (see place.no_gpu_kernel).",
            "If it is float64, look at dtype.float64: where it comes from is usually the better place.",
        ),
        harmless="Where the operations are few and small, and `p` shows no time for them.",
        limits=_MEASURED,
        demo="demo/no_gpu_kernel.py",
        demo_note="a prediction without a GPU",
    ),
    Entry(
        id="place.soft_moved",
        means="TensorFlow silently took another device",
        seen="""A layer asked for GPU:3 and runs on CPU:0 or GPU:0. No error, no line in the output; only the time, or
        the memory of another GPU, tells.""",
        why="""Soft placement: where the asked device does not exist, or has no kernel for the operation, TensorFlow
        takes one that does. It is on by default. A number of a GPU that this machine does not have, or that
        CUDA_VISIBLE_DEVICES hides, is the usual reason: the names count the visible GPUs from 0, whatever nvidia-smi
        calls them.""",
        signal="""The device that stands in the traced graph (asked) against that of the final graph (got), layer by
        layer. What XLA compiled as a whole is left out: there the device is that of the function.""",
        steps=(
            "Name a device that is there; with one GPU, name none at all: it is taken by itself.",
            """Or make the one that was meant visible:
            | CUDA_VISIBLE_DEVICES=3 python train.py    # this one is then GPU:0""",
            """Turn the silence into an error while you look:
            | tf.config.set_soft_device_placement(False)""",
        ),
        harmless="""A portable script asks for a GPU and takes what there is: without a GPU it is information.""",
        demo="demo/missing_device.py",
        demo_note="without a GPU it is information",
    ),
    Entry(
        id="place.split",
        means="variables on one device, computation on another",
        seen="""The placement pane shows variables on CPU:0 and operations on GPU:0 (or the other way round). Every step
        copies the layer's weights across.""",
        why="""Keras 3 makes a layer's variables when the layer is built, before and outside of the scope in which it is
        called; so `with tf.device(…)` in call() moves the computation and leaves the variables where they were. Keras 2
        put both on the scope's device. Building a model on the CPU and training it on the GPU has the same effect.""",
        signal=f"""{_FINAL_GRAPH} A layer counts whose variables are on none of the devices that its forward
        operations are on, with copies of variables between them in the graph. Bytes by step are its parameters at
        four bytes each.""",
        steps=(
            """Build and call the layer under the same scope:
            | with tf.device("/GPU:1"):
            |     layer.build(input_shape)
            |     y = layer(x)""",
            "Or take the scope away: with one GPU, variables and operations go there by themselves.",
            "For several GPUs use a strategy, not scopes: tf.distribute.MirroredStrategy().",
        ),
        harmless="""Where it is small: a warning only on a GPU machine, and from the limit on. A layer that is pinned to
        the CPU beside a GPU is place.pinned_cpu, not this.""",
        limits=(Limit("a warning from {} copied each step", NOTICEABLE_BYTES, units.size),),
        demo="demo/two_devices.py",
        demo_note="between two logical CPU devices where there is no GPU",
    ),
    Entry(
        id="dtype.float64",
        means="layers compute in float64",
        seen="""The placement pane says float64 at some layers; GPU busy may be high while steps are slow. Memory is
        double of what it should be.""",
        why="""NumPy makes float64 by default, and a custom layer, a loss or a normalisation that uses NumPy constants
        or tf.cast(x, tf.float64) carries it on. Keras casts the model's inputs to its own float type, so float64 data
        alone do no harm in fit; in an own loop they do.

        It is a folk tale that float64 keeps TensorFlow from the GPU: products and convolutions have float64 kernels,
        only a handful of operations lack one. They are slow: GPUs for games and work stations have a few float64 units,
        1/32 to 1/64 of the speed; those made for science (A100, H100) half. CPUs do it at half.""",
        signal=f"""{_FINAL_GRAPH} Counted are a layer's operations whose dtype is float64; beside it stands the dtype of
        the batches that the input pipeline yields.""",
        steps=(
            """Make the data float32, once, where they are loaded:
            | x = x.astype("float32")""",
            """In your own layers and losses, take the layer's dtype for constants:
            | scale = tf.constant(SCALE, dtype=x.dtype)""",
            """Look whether Keras itself was switched over:
            | keras.config.floatx()    # tf.keras.backend.floatx() in Keras 2""",
        ),
        harmless="""Where the layer's dtype policy says float64: then it is meant, and information. Single operations (a
        time, a counter) are nobody's fault.""",
        limits=(Limit("a layer counts from {} of its operations on", FLOAT64_SHARE, units.share), *_MEASURED),
        demo="demo/float64.py",
    ),
    Entry(
        id="rnn.not_cudnn",
        means="an LSTM or GRU does without cuDNN's kernel",
        seen="""A recurrent model that is many times slower than expected on a GPU, at low GPU busy: each time step is a
        handful of tiny kernels, started one after the other. On an H200 an LSTM took 2.7 ms of a step on cuDNN, and
        28.8 ms with recurrent_dropout, which rules cuDNN out.""",
        why="""cuDNN computes a whole LSTM or GRU in one call, and knows one kind of them: activation tanh, recurrent
        activation sigmoid, a bias, no unrolling, no recurrent dropout, for GRU reset_after=True; a mask must be padded
        on the right. Keras 2 and 3 take it by themselves where all of this holds and a GPU is there, and else fall back
        to a loop: Keras 2 logs a warning, Keras 3 says nothing.

        There is a trade in Keras 3: a layer that may use cuDNN switches XLA off for the whole model, since XLA can't
        compile cuDNN's calls.""",
        signal="""Which implementation the graph really holds, where there is a GPU; and the layer's settings, each of
        which is checked against Keras' own conditions. Without a GPU the settings alone give a prediction.""",
        steps=(
            """Go back to the settings that cuDNN knows, where the model allows it:
            | keras.layers.LSTM(units)                # tanh, sigmoid: defaults
            | keras.layers.LSTM(units, dropout=0.2)   # on the input: fine
            | # recurrent_dropout=0.2, unroll=True, use_bias=False: not""",
            'Pad sequences on the right (padding="post"), if a mask is used.',
            """In Keras 3, make it an error where it would fall back:
            | keras.layers.LSTM(units, use_cudnn=True)""",
            "CuDNNLSTM and CuDNNGRU of old answers are gone; LSTM and GRU are their successors.",
        ),
        harmless="""Where XLA compiled the layer as a whole: the loop is then one program. With sequences of few steps
        the difference is small; measure it with `p`.""",
        limits=_MEASURED,
        demo="demo/recurrent_dropout.py",
        demo_note="a prediction without a GPU",
    ),
    Entry(
        id="precision.unused_tensor_cores",
        means="float32 on a busy GPU that has tensor cores",
        seen="""A warning with the names of the kernels where the step was looked into; else a line of information
        beside a training that keeps its GPU busy.""",
        why="""Tensor cores multiply matrices in 16 bits at several times the speed of float32. From compute capability
        7.0 on a GPU has them. From 8.0 on float32 products use them too, as TF32 (TensorFlow has it on by default), at
        half the speed of 16 bits or less; on 7.x (V100, T4) float32 does not use them at all. A call of
        enable_tensor_float_32_execution(False), or NVIDIA_TF32_OVERRIDE=0, takes them from float32; and cuDNN and
        cuBLAS choose other kernels for shapes that do not suit them (3 channels, 10 units).

        Mixed precision computes in 16 bits where that is safe and keeps the weights in 32. Folk advice says it is
        always faster. It is not: steps that wait for input or for the host, and layers too small to fill the GPU, gain
        nothing.""",
        signal="""Where the step was looked into (profile=5, or by itself): the names of the kernels of cuBLAS and
        cuDNN, which say how they multiply (tensor16x8x8, s1688, tf32f32 against ffma, simt, sgemm), and their time. If
        the tensor cores compute most, nothing is said. Names that are not known count for neither.

        Else compute capability, the dtype policy of all layers with weights, and GPU busy as NVML tells it: that is
        information. How much is gained is not known before a run with it, and the finding says so.""",
        steps=(
            """Look whether TF32 is switched off: the call or variable stands in the finding where that is known.""",
            """Try 16 bits without an edit, and compare both runs (`c`): speed, and the loss.
            | tfgpu-tui --set precision=mixed_bfloat16 train.py    # 8.0 on
            | tfgpu-tui --set precision=mixed_float16 train.py     # 7.x""",
            """Then for good, before the first layer is made:
            | keras.mixed_precision.set_global_policy("mixed_bfloat16")""",
            """Keep the output in float32, so that the loss is computed in it:
            | keras.layers.Dense(10, dtype="float32")""",
            """An own loop needs a scaled loss with mixed_float16 (compile does it by itself); mixed_bfloat16 has
            float32's range and needs none.""",
        ),
        harmless="Numerical work that needs all of float32's digits should stay there.",
        limits=(
            JUDGED,
            Limit("a warning where plain kernels take {} of each step", WARNING_SHARE, units.share),
            Limit("and {} of the time of all products and convolutions", MOST, units.share),
            Limit(
                "information, without a look inside: only models of {} parameters or more",
                MANY_PARAMETERS,
                units.number,
            ),
            Limit("and only GPUs that are busy for {} or more", BUSY_PERCENT, units.percent),
        ),
        knobs=("precision=mixed_bfloat16", "precision=mixed_float16"),
        demo_note="it needs a GPU that a large model keeps busy",
    ),
    Entry(
        id="precision.slow_on_cpu",
        means="16-bit floats on a CPU that lacks them",
        seen="""Compute is most of the step, and the model's policy is mixed_float16, mixed_bfloat16, float16 or
        bfloat16; there is no GPU, or these layers are not on it.""",
        why="""Mixed precision pays where the hardware multiplies 16-bit numbers: tensor cores of a GPU, and some CPUs
        (AVX512-FP16 or AMX-FP16 for float16; AVX512-BF16 or AMX-BF16 for bfloat16; ARM's fphp and bf16). Others convert
        each number to float32, compute, and convert it back. A small convolutional network took twice as long in
        mixed_float16 as in float32, and four to ten times as long in mixed_bfloat16 (TensorFlow 2.21, an x86 CPU with
        AVX2, three runs of each in turn).

        It comes with a script that was written for a GPU and runs where none is used.""",
        signal="""What the CPU can do as Linux lists it (/proc/cpuinfo), the dtype in which each layer computes, where
        it runs, and compute's share of the step. Where the time by layer was measured, that of these layers counts.
        What float32 would save is not known before a run with it, and the finding says so.""",
        steps=(
            """Try it without an edit, and compare both runs (`c`):
            | tfgpu-tui --set precision=float32 train.py""",
            """Set the policy only where a GPU is used:
            | if tf.config.list_physical_devices("GPU"):
            |     keras.mixed_precision.set_global_policy("mixed_float16")""",
            "If a GPU should have been used, look at the findings of the family gpu first.",
        ),
        harmless="When a model is only tried here, a few steps before it goes to a GPU.",
        limits=(
            JUDGED,
            Limit(
                "a warning where compute, or these layers of it, are {} of step time or more",
                WARNING_SHARE,
                units.share,
            ),
        ),
        knobs=("precision=float32",),
        demo="demo/half_on_cpu.py",
    ),
)
