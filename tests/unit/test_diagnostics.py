"""TensorFlow's own messages: recognised in what it really printed, explained, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgpu_tui.core.diagnostics import CATALOGUE, LineFinder, recognise
from tfgpu_tui.core.events import Diagnostic
from tfgpu_tui.core.state import RunState
from tfgpu_tui.supervisor.messages import Messages

STDERR = Path(__file__).parent / "stderr"


def told(text: bytes, piece: int = 1 << 16) -> list[Diagnostic]:
    out: list[Diagnostic] = []
    messages = Messages(out.append)
    for begin in range(0, len(text), piece):
        messages.feed(text[begin : begin + piece])
    return out


def grave(events: list[Diagnostic]) -> list[str]:
    return list(dict.fromkeys(e.id for e in events if e.level in ("warning", "error")))


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("no_driver", ["cuda.no_driver_library"]),
        ("hidden", ["cuda.no_device"]),
        ("mismatch", ["cuda.driver_mismatch"]),
        ("no_libs", ["cuda.gpus_skipped"]),
        ("no_cusolver", ["cuda.library", "cuda.gpus_skipped"]),
        ("newarch", ["gpu.jit_from_ptx"]),
    ],
)
@pytest.mark.parametrize("piece", [1 << 16, 7])
def test_what_tensorflow_printed_is_recognised(name: str, ids: list[str], piece: int) -> None:
    text = (STDERR / f"{name}.txt").read_bytes()
    assert grave(told(text, piece)) == ids
    assert grave(told(text.replace(b"\n", b"\r\n"), piece)) == ids, "a terminal ends lines so"


def test_the_library_and_the_capability_are_named() -> None:
    (library,) = (e for e in told((STDERR / "no_cusolver.txt").read_bytes()) if e.id == "cuda.library")
    assert library.values == {"library": "libcusolver.so.11"}
    assert library.meaning == "libcusolver.so.11 can't be loaded"
    (jit,) = (e for e in told((STDERR / "newarch.txt").read_bytes()) if e.id == "gpu.jit_from_ptx")
    assert jit.values == {"capability": "12.0"}


# In the form of other versions, and of states that need a real GPU.
LINES = [
    ("2024-03-12 10:11:12.131415: I external/local_tsl/tsl/cuda/cudart_stub.cc:31] Could not find cuda drivers on your "
     "machine, GPU will not be used.", "cuda.no_runtime"),
    ("2024-03-12 10:11:12.131415: E external/local_xla/xla/stream_executor/cuda/cuda_driver.cc:282] failed "
     "call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected", "cuda.no_device"),
    ("2023-05-01 09:00:00.000001: E tensorflow/compiler/xla/stream_executor/cuda/cuda_diagnostics.cc:312] "
     "kernel version 525.60.11 does not match DSO version 525.85.5 -- cannot find working devices in this",
     "cuda.kernel_mismatch"),
    ("I0000 00:00:1731931234.123456  123456 gpu_device.cc:2022] Created device /job:localhost/replica:0/task:0/device:"
     "GPU:0 with 13764 MB memory:  -> device: 0, name: Tesla T4, pci bus id: 0000:00:04.0, compute capability: 7.5",
     "gpu.created"),
    ("2024-03-12 10:11:12.131415: E external/local_xla/xla/stream_executor/cuda/cuda_dnn.cc:463] Loaded runtime "
     "CuDNN library: 9.1.0 but source was compiled with: 9.3.0.  CuDNN library needs to have matching major version "
     "and equal or higher minor version.", "cudnn.too_old"),
    ("2024-03-12 10:11:12.131415: W external/local_xla/xla/service/gpu/nvptx_compiler.cc:744] unrelated", None),
    ("2024-03-12 10:11:12.131415: W external/local_xla/xla/service/gpu/llvm_gpu_backend/gpu_backend_lib.cc:542] Can't "
     "find libdevice directory ${CUDA_DIR}/nvvm/libdevice.", "xla.no_libdevice"),
    ("W0000 00:00:1731931234.123456  123456 bfc_allocator.cc:291] Allocator (GPU_0_bfc) ran out of memory trying to "
     "allocate 4.26GiB with freed_by_count=0. The caller indicates that this is not a failure, but this may mean that "
     "there could be performance gains if more memory were available.", "memory.scratch"),
    ("W0000 00:00:1731931234.123456  123456 bfc_allocator.cc:502] Allocator (GPU_0_bfc) ran out of memory trying to "
     "allocate 15.26GiB (rounded to 16384000000)requested by op a/BiasAdd", "memory.oom"),
    ("I0000 00:00:1731931234.123456  123456 gpu_bfc_allocator.cc:42] Overriding orig_value setting because the "
     "TF_FORCE_GPU_ALLOW_GROWTH environment variable is set. Original config value was 0.", "memory.growth_overridden"),
    ("2023-05-01 09:00:00.000001: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning: Could not "
     "find TensorRT", "noise.tensorrt"),
    ("I0000 00:00:1731931234.123456  123456 local_rendezvous.cc:405] Local rendezvous is aborting with status: "
     "OUT_OF_RANGE: End of sequence", "noise.end_of_sequence"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[str(x[1]) for x in LINES])
def test_lines_of_other_versions_and_of_real_gpus(line: str, expected: str | None) -> None:
    found = recognise(line)
    assert (found.id if found else None) == expected
    moved = recognise(line.replace(".cc:", ".cc:9"))
    assert (moved.id if moved else None) == expected, "line numbers say nothing"


def test_what_a_created_device_names() -> None:
    found = recognise(next(line for line, expected in LINES if expected == "gpu.created"))
    assert found is not None
    assert found.values["device"] == "GPU:0"
    assert (found.values["pci"], found.values["capability"]) == ("0000:00:04.0", "7.5")


@pytest.mark.parametrize(
    "line",
    [
        "Cannot dlopen some GPU libraries. Please make sure …",
        "print: failed call to cuInit: CUDA_ERROR_NO_DEVICE",
        "W0000 00:00:1731931234.1  12 my_file.cc:2] Cannot dlopen some GPU libraries",
        "W0000 00:00:1731931234.1  12 cuda_platform.cc:52] Cannot dlopen some GPU libraries",
        "loss: 0.4321 gpu_device.cc:12] Cannot dlopen some GPU libraries",
        "",
    ],
)
def test_the_users_own_lines_are_no_messages(line: str) -> None:
    assert recognise(line) is None


def test_misleading_words_are_not_repeated() -> None:
    for message in CATALOGUE:
        for misleading in ("cuda drivers", "GPU will not be used", "mentioned above", "tensorflow.org/install"):
            assert misleading.lower() not in message.meaning.lower(), message.id
        assert message.meaning, message.id
    assert len({m.id for m in CATALOGUE}) == len(CATALOGUE)


def test_a_message_that_comes_again_and_again_is_told_as_its_count_doubles() -> None:
    line = (LINES[7][0] + "\n").encode()
    counts = [e.count for e in told(line * 1000)]
    assert counts == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    state = RunState()
    for event in told(line * 5):
        state.apply(event)
    assert [d.count for d in state.diagnostics.values()] == [4]


def test_thousands_of_different_messages_are_bounded() -> None:
    text = "".join(LINES[8][0].replace("15.26GiB", f"{i}.0GiB") + "\n" for i in range(5000))
    events = told(text.encode())
    assert len(events) == 64
    assert all(e.id == "memory.oom" for e in events)


def test_a_line_of_megabytes_costs_no_memory() -> None:
    finder = LineFinder()
    for _ in range(100):
        assert finder.feed(b"." * 65536) == []
    assert len(finder._rest) <= 4096
    after = finder.feed(b"\n" + (STDERR / "hidden.txt").read_bytes())
    assert "cuda.no_device" in [f.id for f in after]


def test_a_progress_bar_before_the_message_does_not_hide_it() -> None:
    text = (
        b"Epoch 1/3\r\n\x1b[1m 1/100\x1b[0m 0s 10ms/step - loss: 0.5\x08\x08\x08"
        + (STDERR / "newarch.txt").read_bytes()
    )
    assert grave(told(text)) == ["gpu.jit_from_ptx"]
