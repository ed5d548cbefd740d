"""The catalogue of TensorFlow's own messages on stderr: which one a line is, and what it really means (pure).

A line is recognised by the base name of the C++ file that wrote it and by its text, never by its line number. Both
forms are known: `W0000 00:00:1795262046.4 10261 gpu_device.cc:2365] …` (2.18 and later) and `2026-11-21 10:00:00.1: W
tensorflow/core/common_runtime/gpu/gpu_device.cc:2365] …`. The texts were looked up in the libraries of the GPU build
of TensorFlow 2.21.0, where a comment doesn't say otherwise; file names of older versions stand behind the newest.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import cache

from tfgpu_tui.core.quick import dataclass

LONGEST_LINE = 4096
"""Bytes of a line that are looked at: the messages are shorter, some users' lines are not."""


@dataclass(frozen=True)
class Message:
    """One message of TensorFlow. `id` never changes; `level` is `noise` (harmless), `info`, `warning` or `error`."""

    id: str
    level: str
    files: tuple[str, ...]
    pattern: str
    meaning: str
    """In our words; `{name}` is a group of the pattern. TensorFlow's own wording misleads in some."""


@dataclass(frozen=True)
class Found:
    """A message in the output, with what it names."""

    id: str
    level: str
    file: str
    meaning: str
    values: dict[str, str] = field(default_factory=dict)


_PLATFORM = ("cuda_platform.cc", "cuda_driver.cc")
_EXECUTOR = ("cuda_executor.cc", "cuda_gpu_executor.cc")
_PTXAS = ("subprocess_compilation.cc", "cuda_asm_compiler.cc", "asm_compiler.cc", "ptx_compiler_helpers.cc")

CATALOGUE: tuple[Message, ...] = (
    # Why no GPU is used
    Message("cuda.no_runtime", "error", ("cudart_stub.cc",), r"Could not find cuda drivers on your machine",
            "the CUDA runtime library (libcudart) could not be loaded; this says nothing about the driver"),
    Message("cuda.no_driver_library", "error", _PLATFORM, r"failed call to cuInit:.*UNKNOWN ERROR \((?:303|34)\)",
            "the driver's library libcuda.so.1 is not there: no NVIDIA driver, or a container without --gpus"),
    Message("cuda.no_device", "error", _PLATFORM, r"failed call to cuInit:.*CUDA_ERROR_NO_DEVICE",
            "the driver works and shows no GPU: CUDA_VISIBLE_DEVICES hides them, or the container was given none"),
    Message("cuda.driver_mismatch", "error", _PLATFORM,
            r"failed call to cuInit:.*CUDA_ERROR_(?:SYSTEM_DRIVER_MISMATCH|COMPAT_NOT_SUPPORTED_ON_DEVICE)",
            "the driver's library and its kernel module are of different versions"),
    Message("cuda.init_failed", "error", _PLATFORM, r"failed call to cuInit:.*?(?P<error>CUDA_ERROR_\w+|\(\d+\))",
            "the CUDA driver does not start: {error}"),
    Message("cuda.kernel_mismatch", "error", ("cuda_diagnostics.cc",),
            r"kernel version (?P<kernel>[\d.]+) does not match DSO version (?P<library>[\d.]+)",
            "the kernel module is {kernel}, the driver's library {library}: reboot, or reload the module"),
    Message("cuda.no_libraries", "error", _EXECUTOR, r"cudaGetRuntimeVersion: Error loading CUDA libraries",
            "driver and GPU are well; the CUDA libraries of TensorFlow can't be loaded"),
    Message("cuda.library", "error", ("dso_loader.cc",), r"Could not load dynamic library '(?P<library>[^']+)'",
            "{library} can't be loaded"),
    Message("cuda.gpus_skipped", "error", ("gpu_device.cc",), r"Cannot dlopen some GPU libraries",
            "at least one CUDA library can't be loaded, so every GPU is left out and the training runs on the CPU"),
    Message("cuda.gpu_ignored", "error", ("gpu_device.cc",),
            r"Ignoring visible gpu device \(device: (?P<device>\d+).*?\) with (?P<why>[^.]+)",
            "GPU {device} is left out: {why}"),
    # The GPU is used, and something about it
    Message("gpu.created", "info", ("gpu_device.cc",),
            r"Created device \S*?device:(?P<device>GPU:\d+) with (?P<memory_mb>\d+) MB memory:\s+-> device: "
            r"(?P<ordinal>\d+), name: (?P<name>.+?), pci bus id: (?P<pci>[0-9a-fA-F:.]+), compute capability: "
            r"(?P<capability>[\d.]+)",
            "{device} is {name} at {pci}; TensorFlow may take {memory_mb} MB of it"),
    Message("gpu.jit_from_ptx", "warning", ("gpu_device.cc",),
            r"not built with CUDA kernel binaries compatible with compute capability (?P<capability>[\d.]+)",
            "this TensorFlow has no machine code for compute capability {capability}: the driver compiles each kernel "
            "at its first use (minutes, once; kept in ~/.nv/ComputeCache)"),
    # CUDA_ERROR_… are the driver's words, not in TensorFlow's binaries.
    Message("gpu.ptx_refused", "error", (*_EXECUTOR, "cuda_driver.cc", "gpu_driver.cc", "cuda_kernel.cc"),
            r"CUDA_ERROR_(?:INVALID_PTX|UNSUPPORTED_PTX_VERSION|NO_BINARY_FOR_GPU)",
            "the driver can't compile this TensorFlow's kernels for the GPU: one of them is too old for it"),
    Message("cudnn.too_old", "error", ("cuda_dnn.cc",),
            r"Loaded runtime CuDNN library: (?P<runtime>[\d.]+) but source was compiled with: (?P<built>[\d.]+)",
            "cuDNN {runtime} was loaded; this TensorFlow was built for {built}"),
    Message("cudnn.loaded", "info", ("cuda_dnn.cc",), r"Loaded cuDNN version (?P<version>\d+)",
            "the first cuDNN operation ran: convolutions or recurrent layers do use the GPU"),
    Message("cudnn.version_unknown", "noise", _EXECUTOR, r"Failed to determine cuDNN version",
            "cuDNN was not asked yet; it matters only together with another message"),
    Message("xla.no_libdevice", "error", ("nvptx_libdevice_path.cc", "nvptx_backend.cc", "gpu_backend_lib.cc"),
            r"Can't find libdevice directory|libdevice not found",
            "XLA does not find libdevice (package nvidia-cuda-nvcc-cu12): compiling for the GPU can fail"),
    Message("xla.no_ptxas", "warning", _PTXAS,
            r"Couldn't get ptxas|No PTX compilation provider|Falling back to (?:the CUDA driver|compilation by driver)",
            "XLA does not find ptxas (package nvidia-cuda-nvcc-cu12): the driver compiles instead, or compiling fails"),
    Message("xla.slow_compile", "warning", ("slow_operation_alarm.cc",), r"Very slow compile",
            "XLA takes minutes to compile a function"),
    Message("xla.compiled", "info", ("device_compiler.h", "xla_compilation_cache.cc"), r"Compiled cluster using XLA",
            "XLA compiled a function (said once in a process)"),
    # Memory
    Message("memory.growth_overridden", "info", ("gpu_bfc_allocator.cc", "gpu_process_state.cc"),
            r"Overriding (?:orig_value|allow_growth) setting because the TF_FORCE_GPU_ALLOW_GROWTH",
            "TF_FORCE_GPU_ALLOW_GROWTH decided about memory growth, not the script"),
    Message("memory.growth_unreadable", "warning", ("gpu_bfc_allocator.cc", "gpu_process_state.cc"),
            r"The TF_FORCE_GPU_ALLOW_GROWTH environment variable is set but could not be parsed",
            "TF_FORCE_GPU_ALLOW_GROWTH must be exactly true or false; it is ignored"),
    Message("memory.async_allocator", "info", ("gpu_process_state.cc",), r"Using CUDA malloc Async allocator",
            "GPU memory comes from CUDA's own pool (cuda_malloc_async)"),
    Message("memory.scratch", "info", ("bfc_allocator.cc",),
            r"ran out of memory trying to allocate.*The caller indicates that this is not a failure",
            "some scratch memory did not fit, so a slower algorithm was chosen; nothing failed"),
    Message("memory.oom", "error", ("bfc_allocator.cc",),
            r"Allocator \((?P<allocator>\S+)\) ran out of memory trying to allocate (?P<size>[\d.]+\w+)",
            "allocator {allocator} could not give {size}"),
    Message("memory.large_host_tensor", "warning", ("cpu_allocator_impl.cc",),
            r"Allocation of (?P<bytes>\d+) exceeds (?P<percent>\d+)% of free system memory",
            "one tensor takes more than {percent} % of the free host memory"),
    # The input
    Message("input.shuffle_fills", "info", ("shuffle_dataset_op.cc",), r"Filling up shuffle buffer",
            "the training waits while a shuffle buffer is filled"),
    # Looks alarming, means nothing
    Message("noise.end_of_sequence", "noise", ("local_rendezvous.cc",), r"OUT_OF_RANGE: End of sequence",
            "a dataset came to its end"),
    Message("noise.registered_twice", "noise", ("cuda_fft.cc", "cuda_dnn.cc", "cuda_blas.cc"),
            r"Unable to register cu\w+ factory", "harmless"),
    Message("noise.placer", "noise", ("computation_placer.cc",), r"computation placer already registered",
            "harmless"),  # 2.19 and 2.20
    Message("noise.cpu_features", "noise", ("cpu_feature_guard.cc",), r"This TensorFlow binary is optimized",
            "harmless: the CPU has instructions that this build does not use everywhere"),
    Message("noise.onednn", "noise", ("port.cc",), r"oneDNN custom operations are on",
            "harmless: sums are rounded in another order"),
    Message("noise.tensorrt", "noise", ("py_utils.cc",), r"TF-TRT Warning: Could not find TensorRT",
            "harmless: TensorRT is for inference"),  # up to 2.17
    Message("noise.numa", "noise", _EXECUTOR, r"successful NUMA node read from SysFS had negative value", "harmless"),
)  # fmt: skip

_PLACE = re.compile(rb"\.(?:cc|h):\d+\] ")
_HEAD = re.compile(r"(?:[IWEF]\d{4} [\d:.]+ +\d+ |\d{4}-\d\d-\d\d [\d:.]+: [IWEF] )(?:\S*/)?([\w.-]+\.(?:cc|h)):\d+\] ")


@cache
def _by_file() -> dict[str, list[tuple[Message, re.Pattern[str]]]]:
    out: dict[str, list[tuple[Message, re.Pattern[str]]]] = {}
    for message in CATALOGUE:
        for name in message.files:
            out.setdefault(name, []).append((message, re.compile(message.pattern)))
    return out


def recognise(line: str) -> Found | None:
    """The message that this line of output is; None for every other line."""
    head = _HEAD.search(line)
    if head is None:
        return None
    for message, pattern in _by_file().get(head.group(1), ()):
        hit = pattern.search(line, head.end())
        if hit is not None:
            values = {name: value for name, value in hit.groupdict().items() if value is not None}
            return Found(message.id, message.level, head.group(1), message.meaning.format(**values), values)
    return None


class LineFinder:
    """Finds messages in a stream of output that comes in pieces. Costs one search for each piece without any."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Found]:
        """The messages that this piece completes. A line counts once its end is there."""
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:][-LONGEST_LINE:]
        out: list[Found] = []
        begin = 0
        while (place := _PLACE.search(data, begin, end)) is not None:
            start = max(data.rfind(b"\n", begin, place.start()) + 1, place.start() - LONGEST_LINE, begin)
            begin = data.index(b"\n", place.end() - 1, end) + 1
            line = data[start : min(begin, place.end() + LONGEST_LINE)]
            found = recognise(line.decode(errors="replace"))
            if found is not None:
                out.append(found)
        return out
