"""The rows inside events, as types: what a GPU, a stage, a layer, … has for keys, and of which kind their values are.

They are plain dictionaries at run time, as JSON has them. mypy sees each key, `validate` asks for them what is declared
here, docs/journal.md is written from it. Units are in the names, as in `events`. None is "not known" or "not there";
a key of a class with `total=False` may be missing, which means the same. Keys that are not declared are free: a newer
sender has more of them.

Annotations are evaluated here (no `from __future__ import annotations`): as text each would be compiled, ten
milliseconds in all.
"""

from typing import Annotated, TypedDict

WHOLE = "a whole number"
Bytes = Annotated[int, WHOLE]
"""Bits are shifted of it, so a float won't do; for any other `int` it will, for which of the two JSON has is the
sender's choice."""


# GPUs, as NVML shows them (`gpu_sample`).


class GpuProcess(TypedDict, total=False):
    """A process with a compute context on a GPU."""

    pid: int | None
    """The driver's number: in a container perhaps the host's."""
    memory_bytes: int | None
    busy_percent: float | None
    """Mean time of the SMs since the last reading; None where it had no new sample."""
    ours: bool | None
    """Whether it belongs to the run; None where the driver's numbers mean nothing in this container."""
    name: str | None
    """Of a process that is not ours."""


class GpuPart(TypedDict, total=False):
    """A GPU, or a slice of one under MIG, which has only `uuid`, `name`, `memory_…_bytes` and `processes`."""

    index: int | None
    """NVML's number, as nvidia-smi shows it."""
    uuid: str | None
    error: str | None
    """Why it does not answer: all else is then missing, or as it was."""
    busy_percent: float | None
    """Time in which any kernel ran."""
    memory_busy_percent: float | None
    """Time in which device memory was read or written."""
    memory_used_bytes: int | None
    power_w: float | None
    temperature_c: float | None
    sm_clock_mhz: float | None
    throttle: list[str] | None
    """Words for what holds the clocks down."""
    name: str | None
    pci: str | None
    """Address on the bus, `00000000:0A:00.0`."""
    memory_total_bytes: int | None
    memory_reserved_bytes: int | None
    """By the driver; an old one counts it as used."""
    power_limit_w: float | None
    """In force."""
    power_limit_default_w: float | None
    """As the board comes."""
    sm_clock_max_mhz: float | None
    memory_clock_mhz: float | None
    memory_clock_max_mhz: float | None
    pcie_generation: int | None
    pcie_generation_max: int | None
    """That GPU and slot have in common."""
    pcie_generation_gpu_max: int | None
    """Of the GPU alone, whatever the slot can."""
    pcie_width: int | None
    """Lanes."""
    pcie_width_max: int | None
    pcie_rx_bytes_per_s: float | None
    pcie_tx_bytes_per_s: float | None
    energy_j: float | None
    """Since the driver was loaded."""
    ecc_corrected: int | None
    """Errors of the memory since the driver was loaded."""
    ecc_uncorrected: int | None
    sm_active_percent: float | None
    """Means since the last ones; Hopper and later."""
    tensor_active_percent: float | None
    dram_active_percent: float | None
    processes: list[GpuProcess] | None
    unknown: dict[str, str | None] | None
    """Field -> why it is None."""


class Gpu(GpuPart, total=False):
    """A GPU. What NVML does not support, or can't be true, is None. From `name` on the keys come only every few
    seconds; until then the values are as they were."""

    slices: list[GpuPart] | None
    """Under MIG; none where that is off."""


# What the training reads.


class _ReadFolder(TypedDict):
    folder: str
    looks: int
    """In which a file of it was open for reading."""


class ReadFolder(_ReadFolder, total=False):
    """A folder with files of data, and the file system that it lies on."""

    mount: str | None
    """Where that is mounted, as the process sees it; None where that is not known, and so for the next two."""
    file_system: str | None
    """`nfs4`, `fuse.sshfs`, `9p`, `ext4`, …"""
    source: str | None
    """`server:/export`, `/dev/sda1`, …"""


# What TensorFlow says of its devices and of the model.


class TensorflowGpu(TypedDict, total=False):
    """A GPU that TensorFlow lists."""

    device: str | None
    """`GPU:0`."""
    name: str | None
    uuid: str | None
    pci: str | None
    """Address on the bus, `0000:0a:00.0`."""
    ordinal: int | None
    """The CUDA driver's number, and TensorFlow's physical device."""
    capability: list[int] | None
    """Compute capability, `[9, 0]`."""


class MemoryUse(TypedDict, total=False):
    """What TensorFlow's allocator gave to tensors."""

    current_bytes: Bytes | None
    peak_bytes: Bytes | None
    limit_bytes: Bytes | None


class MemoryDevice(MemoryUse):
    """TensorFlow's allocator on one device."""

    device: str
    """`GPU:0`."""


class Element(TypedDict, total=False):
    """A tensor of what a dataset yields."""

    dtype: str | None
    """`float32`."""
    shape: list[int | None] | None
    """`[32, 8, 8, 1]`; an unknown dimension is None, and so is a shape of unknown rank."""


class _OpsOffGpu(TypedDict):
    op: str
    """Class, `StringToHashBucketFast`."""
    ops: int
    """How many of them."""


class OpsOffGpu(_OpsOffGpu, total=False):
    """Ops of a layer that are not on the GPU, or would not be."""

    dtype: str | None
    why: str | None
    """pinned | no_gpu_kernel | dtype_no_kernel | host_memory | soft_placement | unknown."""


class Recurrent(TypedDict):
    """Whether an LSTM or GRU is computed by cuDNN's fused kernel."""

    cudnn: bool | None
    blocked_by: list[str]
    """Settings that rule it out."""


class _Layer(TypedDict):
    layer: str | None
    """Path in the model; `(input)`, `(loss)`, `(optimizer)` hold what belongs to no layer."""


_LayerClass = TypedDict("_LayerClass", {"class": str | None}, total=False)
"""Name of the layer's class."""


class Layer(_Layer, _LayerClass, total=False):
    """A row of the placement table. `not_on_gpu`, `copies`, `variable_copies`, `float64_ops` and `loops` are left out
    where nothing was found."""

    depth: int | None
    """In the model; 0 is the top."""
    forward: dict[str, int] | None
    """Device -> ops."""
    backward: dict[str, int] | None
    variables: list[str] | None
    """Devices of its variables."""
    parameters: int | None
    dtype: str | None
    policy: str | None
    """Keras' dtype policy."""
    xla: bool | None
    """Whether XLA compiles it."""
    asked: str | None
    """Device that the script asked for."""
    reason: str | None
    """Why it is where it is, in words."""
    calls: int | None
    """Places in the model where it is called."""
    predicted: dict[str, int] | None
    """`GPU`, `CPU`, `host` -> ops, as they would be on a GPU machine; None where they were measured."""
    not_on_gpu: list[OpsOffGpu] | None
    copies: dict[str, int] | None
    """`CPU:0 > CPU:1` -> tensors copied each step."""
    variable_copies: int | dict[str, int] | None
    """Variables copied each step to where the layer computes."""
    float64_ops: int | None
    loops: int | None
    """While loops in its forward pass; left out where there is none."""
    recurrent: Recurrent | None
    """None for layers that are neither LSTM nor GRU."""


def is_layer(row: Layer) -> bool:
    """Whether it is a layer of the model: `(input)`, `(loss)`, `(optimizer)` and the like stand beside them."""
    return not str(row.get("layer")).startswith("(")


class _OpTime(TypedDict):
    op: str
    """Class, `Conv2D`; an instruction or kernel of another name where XLA compiled it."""
    part: str
    """As in the event's `parts`."""
    ms: float
    """Wall time a step."""
    runs: float
    """In a step: a loop's op runs more often than once. On a GPU, kernels."""


class OpTime(_OpTime, total=False):
    """All ops of one class in one layer and one direction, on one device."""

    layer: str | None
    """The placement's row; None where it isn't known."""
    backward: bool | None
    device: str | None
    """`GPU:0`, `CPU`."""
    layout: bool | None
    """Whether TensorFlow's layout optimizer put it there, so that data lies as a kernel wants it."""


class _SparseUpdate(TypedDict):
    variable: str
    rows: int
    """Of the table."""
    elements: int
    slots: int
    """The optimizer's own variables of the table's shape (moments, velocities)."""


class SparseUpdate(_SparseUpdate, total=False):
    """A table (an embedding) that an optimizer updates, of whose rows a step looks up some."""

    touched: int | None
    """Rows that a step looks up, one twice where its id comes twice."""
    touched_each: int | None
    """Rows that an example looks up, where the batch has no fixed size."""


class _CopyTime(TypedDict):
    direction: str
    """host to device | device to host | device to device."""
    ms: float
    """A step, in which copies in this direction ran."""
    alone_ms: float
    """Of that, the time in which the GPU computed nothing."""
    bytes: float
    """A step."""


class CopyTime(_CopyTime, total=False):
    """Copies from or to a GPU, in whole profiled steps."""

    device: str | None
    """`GPU:0`."""
    pageable_bytes: float | None
    """Of these, those whose memory on the host is not pinned."""
    runs: float | None
    """Copies a step."""


class _ProductTime(TypedDict):
    kernel: str
    """Its name, as cuBLAS, cuDNN or XLA gave it; no more than 120 characters."""
    arithmetic: str
    """tensor cores | plain | unknown, from that name."""
    ms: float
    """A step."""


class ProductTime(_ProductTime, total=False):
    """A kernel that multiplies matrices, or convolves."""

    layer: str | None
    """The placement's row; None where it isn't known."""


# Input.


class _Stage(TypedDict):
    stage: str
    """Class of the op, `ParallelMapV2`."""


class Stage(_Stage, total=False):
    """A stage of the input pipeline, in the order in which data flows."""

    name: str | None
    """As it is shown, `Map load_image`."""
    self_us: float | None
    """Own time for an element of this stage."""
    elements: int | None
    """That it made so far."""
    per_batch_us: float | None
    """Own time for a batch, divided by the parallelism."""
    parallelism: int | None
    autotuned: bool | None
    """Whether TensorFlow sets parallelism or buffer."""
    buffered: int | None
    """Elements in its buffer now."""
    buffer_size: int | None
    function: str | None
    """The user's function that it runs."""
    file: str | None
    line: int | None
    python: bool | None
    """Whether it runs Python code."""
    reads: bool | None
    """Whether it reads files with TensorFlow's own ops."""


class UserFunction(TypedDict, total=False):
    """The user's own Python in the input pipeline."""

    name: str | None
    kind: str | None
    """generator | getitem."""
    calls: int | None
    mean_us: float | None
    """Of a call."""
    file: str | None
    line: int | None


class WorkerFunction(TypedDict, total=False):
    """The same in a process that makes batches."""

    name: str | None
    kind: str | None
    calls: int | None
    seconds: float | None
    """Of all calls."""
    file: str | None
    line: int | None


# Lines of the script.


class _CallPlace(TypedDict):
    file: str
    line: int
    count: int
    wall_s: float


class CallPlace(_CallPlace, total=False):
    """A line of the script that called `predict` or `evaluate`."""

    function: str | None
    """That the line is in."""


class _ScriptLine(TypedDict):
    file: str
    line: int
    text: str
    """Of the source."""
    looks: int
    """In which it was seen there."""
    waiting: int
    """Of those, for another thread, process or machine."""


class ScriptLine(_ScriptLine, total=False):
    """A line of the script where its own Python was seen."""

    function: str | None
    in_layer: int
    """Of the looks, those in which a layer ran op by op, as in a model that is called outside of the step."""


class _StoodAt(TypedDict):
    part: str
    """imported | building | preparing | ending | idle: see `phase`."""
    doing: str
    """import | keras | tensorflow | python."""
    file: str
    line: int
    text: str
    """Of the source."""
    seconds: float


class StoodAt(_StoodAt, total=False):
    """A line of the script at which the main thread was seen while no step ran."""

    function: str | None
    within: str | None
    """The innermost function of Keras that it was in, `array_data_adapter.py:120 __init__`."""


class _GraphFunction(TypedDict):
    name: str
    calls: int
    seconds: float
    """Of all calls."""


class GraphFunction(_GraphFunction, total=False):
    """A Python function in the graph of a training step."""

    kind: str | None
    """py_function | numpy_function."""
    file: str | None
    line: int | None
    at: str | None
    """The script's line that put it into the graph, `train.py:12`."""


# Where everything stands while no steps come.


class ThreadStands(TypedDict, total=False):
    """A thread of a process, as its own Python sees it, and what the system says of it."""

    thread: str | None
    """Its name; None for one that Python did not start."""
    role: str | None
    """trains | feeds (TensorFlow or Keras stand on its stack) | script."""
    file: str | None
    """Innermost line of the script; None where none is on the stack."""
    line: int | None
    function: str | None
    text: str | None
    """Of the source."""
    at_file: str | None
    """Innermost frame that is none of Python's own ways to wait."""
    at_line: int | None
    at_function: str | None
    at_library: str | None
    """The package that it belongs to."""
    waits_in: str | None
    """What that frame called to wait: `queue.get`."""
    state: str | None
    """R (runs or would like to), S (sleeps), D (in a device or file system), … (proc(5))."""
    call: str | None
    """What it asked of the system: lock | sleep | read | write | poll | connect | accept | process | open | sync |
    file lock."""
    on: str | None
    """Of a call with a descriptor: a path, `pipe`, `terminal`, `socket to 10.0.0.7:443`."""
    kernel: str | None
    """Function of the kernel that it sleeps in."""


class _ProcessStands(TypedDict):
    pid: int


class ProcessStands(_ProcessStands, total=False):
    """A process of the run, as the system shows it."""

    parent: int | None
    name: str | None
    state: str | None
    """Of its main thread (proc(5))."""
    kernel: str | None
    """Function of the kernel that its main thread sleeps in; None where that can't be read."""
    cpu_percent: float | None
    """Since the look before; 100 is one core."""
    threads: int | None
    disk_threads: int | None
    """Threads that wait in a device or a file system (state D)."""
    forked: bool | None
    """Whether it is a copy of its parent that started no program of its own (fork)."""


class Container(TypedDict, total=False):
    """One of Python's containers that grew."""

    kind: str | None
    """list | dict | set | deque."""
    name: str | None
    """`keep in train.py`."""
    element: str | None
    """Class of the newest element."""
    element_bytes: float | None
    per_step: float | None
    """Elements more."""
    bytes_per_step: float | None


# The environment before TensorFlow is imported (`preflight`), as doctor/probe.py says it.


class DriverLibrary(TypedDict, total=False):
    """libcuda.so.1, as the loader finds it."""

    path: str | None
    version: str | None
    """In the name of its file."""


class Build(TypedDict, total=False):
    """TensorFlow's build_info; the CPU build has only the booleans."""

    is_cuda_build: bool | None
    is_rocm_build: bool | None
    cuda_version: str | None
    cudnn_version: str | None
    cuda_compute_capabilities: list[object] | None
    """`sm_80`, `compute_90`."""


class _Library(TypedDict):
    path: str | None
    """Where the loader finds it."""
    package: str | None
    """Its file in an installed package."""


class Library(_Library, total=False):
    """A library of CUDA that TensorFlow opens."""

    soname: str
    """`libcudart.so.12`."""
    source: str | None
    """LD_LIBRARY_PATH | RUNPATH | system."""
    file: str | None
    """Name of the file behind `path`, which has the whole version."""


class _DriverGpu(TypedDict):
    capability: list[int]
    """Compute capability, `[9, 0]`."""


class DriverGpu(_DriverGpu, total=False):
    """A GPU that the CUDA driver lists."""

    name: str | None


class CudaDriver(TypedDict, total=False):
    """What the CUDA driver said in a process of its own."""

    init: int
    """Status of cuInit; 0 is good."""
    error: str | None
    count: int | None
    """GPUs that it lists."""
    cuda: str | None
    """Newest version of CUDA that it runs."""
    gpus: list[DriverGpu] | None


class Incomplete(TypedDict, total=False):
    """A package of which only a part is there: what an uninstall left, or an install that broke off."""

    folder: str | None
    """What Python finds under its name; None where it finds nothing."""
    hollow: bool | None
    """That folder has no `__init__.py`: it imports, and has nothing in it."""
    distribution: str | None
    """Whose metadata lists its files, `tensorflow_cpu`; None where none does."""
    version: str | None
    modules: int | None
    """Packages (`__init__.py`) that the metadata lists."""
    missing: int | None
    """Those of them that are not there."""
    first: str | None
    """One of the missing, the outermost."""


class Facts(TypedDict, total=False):
    """What was found in the script's environment, without importing TensorFlow."""

    python: str | None
    executable: str | None
    prefix: str | None
    virtual: bool | None
    """Whether it is an environment of venv or conda."""
    distributions: dict[str, str | None] | None
    """Installed distributions that matter -> version."""
    conda: dict[str, str | None] | None
    """conda's packages of TensorFlow -> build."""
    env: dict[str, str | None] | None
    """Environment variables that matter, where they are set."""
    scheduler: dict[str, str | None] | None
    """Those of SLURM and others."""
    module: str | None
    """Version of NVIDIA's kernel module."""
    driver_library: DriverLibrary | None
    container: str | None
    """docker | podman | kubernetes | singularity | …; None outside of one."""
    platform: str | None
    """wsl2 | jetson; None elsewhere."""
    cpus: dict[str, float | None] | None
    """`count`, `usable`, `quota`."""
    keras: dict[str, str | None] | None
    """`legacy` (yes | no), `backend`."""
    libraries: dict[str, Library] | None
    """By a short name, `cudnn`."""
    runpath: list[str] | None
    """Folders in which TensorFlow's own library looks."""
    pci: int | None
    """NVIDIA GPUs on the PCI bus."""
    devices: int | None
    """`/dev/nvidia[0-9]*`."""
    forbidden: list[str] | None
    """Device files that this user may not open."""
    tensorflow_dir: str | None
    build: Build | None
    build_error: str | None
    """Why `build` could not be read."""
    xla_tools: dict[str, str | None] | None
    """`ptxas`, `libdevice` -> where XLA finds them."""
    needed: dict[str, str | None] | None
    """What TensorFlow is built against -> the versions that its metadata asks for, `<2.0.0,>=1.23.5`."""
    incomplete: dict[str, Incomplete] | None
    """`tensorflow`, `keras` -> what is missing of it; only of those that are not whole."""
    requires: dict[str, str | None] | None
    """NVIDIA's packages that TensorFlow's metadata asks for -> lowest version."""
    cuda_driver: CudaDriver | None
