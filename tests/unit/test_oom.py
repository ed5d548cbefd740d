"""Allocator dumps, old and new, to the case and the numbers: texts that TensorFlow printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tfgpu_tui.core import oom
from tfgpu_tui.core.oom import DumpReader, OutOfMemory

HERE = Path(__file__).parent
NEW = (HERE / "oom_2_21.txt").read_bytes()
"""TensorFlow 2.21.0 on a CPU whose process had its address space limited: oneDNN's allocator is a BFCAllocator."""
OLD = (HERE / "oom_2_13.txt").read_bytes()
"""Lines of a dump of TensorFlow 2.13 on a GPU of 40 GB, from a public report."""
GIB = 1 << 30


def read(text: bytes, piece: int = 1 << 16) -> list[OutOfMemory]:
    reader = DumpReader()
    found = [one for i in range(0, len(text), piece) for one in reader.feed(text[i : i + piece])]
    return found + list(reader.end())


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 16])
def test_the_new_format(piece: int) -> None:
    (found,) = read(NEW, piece)
    assert (found.allocator, found.op) == ("mklcpu", "StatefulPartitionedCall/functional_1/huge_1/BiasAdd")
    assert found.wanted_bytes == 16_384_000_000
    assert found.limit_bytes == round(23.54 * GIB)
    assert found.in_use_bytes == round(496.66 * (1 << 20))
    assert found.pool_bytes == 2 * GIB
    assert found.largest_free_bytes == pytest.approx(561_741_824, rel=1e-4)
    assert (found.shape, found.dtype, found.device) == ([2048, 2_000_000], "float", "CPU:0")
    assert found.chunks[0] == [1, 512_000_000]
    assert found.case == oom.NO_ROOM


def test_the_old_format() -> None:
    (found,) = read(OLD)
    assert (found.allocator, found.op) == ("GPU_0_bfc", "dual_encoder_all/model_1/conv2d_17/Relu_1")
    assert (found.limit_bytes, found.in_use_bytes) == (40_231_108_608, 39_851_412_480)
    assert (found.wanted_bytes, found.device, found.shape) == (512_000_000, "GPU:0", [32, 64, 250, 250])
    assert found.chunks == [[2, 13_200_000_000]]
    assert found.case == oom.FULL


def test_the_case_follows_from_the_numbers() -> None:
    base = OutOfMemory(wanted_bytes=2 * GIB, limit_bytes=16 * GIB, in_use_bytes=12 * GIB, pool_bytes=15 * GIB)
    assert base.case == oom.FRAGMENTED
    assert replace(base, wanted_bytes=17 * GIB).case == oom.TOO_BIG
    assert replace(base, in_use_bytes=15 * GIB).case == oom.FULL
    assert replace(base, pool_bytes=13 * GIB).case == oom.NO_ROOM
    assert replace(base, limit_bytes=None).case is None
    assert replace(base, in_use_bytes=None).case is None
    assert replace(base, pool_bytes=None).case is None


def test_the_drivers_allocator_has_words_of_its_own() -> None:
    text = (
        b"E0000 00:00:1.1 7 gpu_cudamallocasync_allocator.cc:314] gpu_async_1 cuMemAllocAsync failed to allocate "
        b"17179869184 bytes: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n"
        b" Reported by CUDA: Free memory/Total memory: 1073741824/17179869184\n"
        b"E0000 00:00:1.1 7 gpu_cudamallocasync_allocator.cc:319] Stats: Limit:  16106127360\n"
        b"InUse:  15032385536\nMaxInUse:  15032385536\n"
    )
    (found,) = read(text)
    assert (found.device, found.wanted_bytes, found.in_use_bytes) == ("GPU:1", 16 * GIB, 14 * GIB)
    assert found.case == oom.TOO_BIG


def test_scratch_that_is_no_failure_is_none() -> None:
    text = (
        b"W0000 00:00:1.1 7 bfc_allocator.cc:310] Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.20GiB "
        b"with freed_by_count=0. The caller indicates that this is not a failure, but this may mean that there could "
        b"be performance gains if more memory were available.\n"
    )
    assert read(text) == []
    assert read(b"loss: 0.1\n" * 1000 + b"\xff\xfe\n" + b"x" * 100_000) == []


def test_two_dumps_are_two_and_a_dump_that_breaks_off_counts() -> None:
    assert len(read(NEW + OLD)) == 2
    (cut,) = read(NEW[: NEW.index(b"Stats:")])
    assert cut.wanted_bytes == 16_384_000_000 and cut.in_use_bytes is None
    assert cut.case is None


def test_the_exceptions_text_alone() -> None:
    text = (
        "Graph execution error:\n\nDetected at node net_1/wide_1/MatMul defined at (most recent call last):\n<stack>\n"
        "OOM when allocating tensor with shape[8192,131072] and type float on "
        "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n\t [[{{node net_1/wide_1/MatMul}}]]\n"
    )
    found = oom.from_exception(text)
    assert found is not None
    assert (found.op, found.device, found.shape) == ("net_1/wide_1/MatMul", "GPU:0", [8192, 131072])
    assert found.case is None
    assert oom.from_exception("ValueError: no") is None


def test_how_large_the_tensor_was_to_be() -> None:
    assert oom.tensor_bytes([2048, 2_000_000], "float") == 16_384_000_000
    assert oom.tensor_bytes([], "half") == 2
    assert oom.tensor_bytes([4], "resource") is None and oom.tensor_bytes(None, "float") is None


def test_an_eager_op_that_found_no_memory() -> None:
    """As TensorFlow 2.21 said it on an H200 with a limit of 9000 MiB."""
    text = (
        "{{function_node __wrapped__AddV2_device_/job:localhost/replica:0/task:0/device:GPU:0}} "
        "failed to allocate memory [Op:AddV2] name: "
    )
    found = oom.from_exception(text)
    assert found is not None
    assert (found.op, found.device, found.shape) == ("AddV2", "GPU:0", None)
