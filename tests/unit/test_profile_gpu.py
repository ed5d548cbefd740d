"""What holds a GPU up, from a profile: copies beside which it computes nothing, products without its tensor cores."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journals import T0, evidence
from tests.unit import test_diagnose_gpu as gpus
from tests.unit.test_each_finding import copying, exchanging, multiplied
from tfgpu_tui.agent.placement import profile_gpu, profile_trace
from tfgpu_tui.agent.placement.profile_trace import Run
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import validate
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose


def with_look(event: ev.LayerTimes) -> RunState:
    """A training on one GPU whose step was looked into."""
    link = gpus.samples(gpus.row(0, pcie_generation=5, pcie_width=16))
    return gpus.trained(gpus.machine(gpus.listed(0)), link, [event])


def the(name: str, state: RunState) -> Finding | None:
    return next((finding for finding in diagnose(state) if finding.id == name), None)


@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        # As an H200 had them (TensorFlow 2.21).
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_stage5_g1_tensor16x8x8_execute", "tensor cores"),
        ("sm90_xmma_dgrad_implicit_gemm_indexed_f32f32_tf32f32_f32_nhwckrsc_warpgroupsize1x1x1_g1", "tensor cores"),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_stage3_g1_ffma_aligna4_alignc4", "plain"),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_tn_align1>(…)", "plain"),
        ("void wgrad_alg0_engine<float, 128, 5, 5, 3, 3, 3, false, 512>(int, int, int, float const*)", "plain"),
        ("internal::gemvx::kernel<int, int, float, float, float, float, false, true>", None),
        ("void cask_plugin::xmma::init_device_workspace_kernel<xmma::implicit_gemm::wgrad_indexed>", None),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<float, float, float, false, true>", None),
        ("AddV2_GPU_DT_FLOAT_DT_FLOAT_kernel", None),
        # As public profiles of older GPUs have them.
        ("volta_sgemm_128x64_nn", "plain"),
        ("volta_fp16_s884gemm_fp16_128x128_ldg8_f2f_nn", "tensor cores"),
        ("turing_fp16_s1688cudnn_fp16_128x128_ldg8_relu_f2f_exp_small_nhwc_tn_v1", "tensor cores"),
        ("ampere_sgemm_128x128_nn", "plain"),
        ("ampere_bf16_s16816gemm_bf16_256x128_ldg8_f2f_stages_64x3_nn", "tensor cores"),
        ("volta_scudnn_128x64_relu_interior_nn_v1", "plain"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x256_16x3_nn_align4>(…)", "tensor cores"),
        ("nvjet_tst_128x64_64x8_2x1_v_bz_TNT", "tensor cores"),
        ("gemm_fusion_dot_12", "unknown"),
        ("Memset 3", None),
    ],
)  # fmt: skip
def test_a_kernels_name_says_how_it_multiplies(kernel: str, how: str | None) -> None:
    assert profile_gpu.arithmetic_of(kernel) == how


def ran(name: str, begin_ms: float, end_ms: float, size: int = 0, device: str = "GPU:0") -> Run:
    return Run("", name, device, begin_ms * 1e3, end_ms * 1e3, name=name, copied_bytes=size, pageable=size > 10)


def test_a_copy_counts_alone_only_while_no_kernel_runs_on_its_gpu() -> None:
    runs = [
        ran("MemcpyH2D", 0, 6, 6000),
        ran("MemcpyH2D", 5, 8, 3000),  # on another stream
        ran("sgemm", 4, 7),
        ran("relu", 6, 10),
        ran("Memset 3", 0, 4),
        ran("MemcpyD2H", 9, 10, 4),
        ran("MemcpyH2D", 20, 24, 100),  # after the window
        ran("conv", 0, 8, device="GPU:1"),
    ]
    found = profile_gpu.look(runs, {}, (0, 20e3), 2)
    up, down = found.copies
    assert up == {
        "direction": "host to device", "device": "GPU:0", "ms": 4.0, "alone_ms": 2.0, "bytes": 4500.0,
        "pageable_bytes": 4500.0, "runs": 1.0,
    }  # fmt: skip
    assert (down["direction"], down["ms"], down["alone_ms"]) == ("device to host", 0.5, 0.0)
    assert found.arithmetic == {"plain": 1.5}


def test_a_real_gpus_trace_has_its_copies_and_tensor_cores() -> None:
    """Two steps of a convolutional network on an NVIDIA H200: 64 images of 64 x 64 x 3 in float32 are 3.1 MB."""
    file = Path(__file__).parents[1] / "agent" / "traces" / "h200-conv.trace.gz"
    runs = profile_trace.trace(gzip.decompress(file.read_bytes())).runs
    on_gpu = [run for run in runs if run.device != "CPU"]
    window = min(run.begin_us for run in on_gpu), max(run.end_us for run in on_gpu)
    found = profile_gpu.look(runs, {}, window, 2)
    up = found.copies[0]
    assert (up["direction"], up["bytes"]) == ("host to device", pytest.approx(64 * 64 * 64 * 3 * 4, abs=500))
    assert up["pageable_bytes"] == pytest.approx(up["bytes"])
    assert 0.3 < float(str(up["alone_ms"])) <= float(str(up["ms"])) < 0.4
    assert found.arithmetic == pytest.approx({"tensor cores": 1.8956, "plain": 0.1734}, abs=1e-3)
    told = {"type": "layer_times", "v": 1, "t": T0 + 9, "step_ms": 5.3, "whole_steps": 2, **found._asdict()}
    event = validate.read(json.dumps(told).encode())
    assert isinstance(event, ev.LayerTimes), "as the agent writes it, it passes the socket's check"
    assert the("precision.unused_tensor_cores", with_look(event)) is None
    copied = the("input.copy_bound", with_look(event))
    assert copied is None, "6 % of the step"
    quick = replace(event, step_ms=2.5)
    copied = the("input.copy_bound", with_look(quick))
    assert copied is not None and "8.1 GiB a second" in copied.lines[1]


def test_a_copy_is_set_against_the_link() -> None:
    finding = the("input.copy_bound", copying(alone_ms=4.0))
    assert finding is not None and (finding.severity, finding.share) == ("critical", 0.4)
    assert evidence(finding)["bytes_per_s"] == pytest.approx(38e6 / 4.5e-3)
    assert evidence(finding)["link_bytes_per_s"] == pytest.approx(63e9, rel=0.01)
    assert "PCIe 5 x16" in finding.lines[1] and "not pinned" in finding.lines[2]
    assert finding.lines[3] == "the pipeline yields float32 64x224x224x3"
    assert "uint8" in finding.next
    assert the("input.copy_bound", copying(alone_ms=4.0, size=1000.0)) is None, "no batch"


def test_nothing_is_said_of_tensor_cores_that_work() -> None:
    finding = the("precision.unused_tensor_cores", multiplied(plain=6.0, tensor_cores=1.0))
    assert finding is not None and finding.severity == "warning"
    assert finding.knob == "precision=mixed_bfloat16"
    assert "conv: cutlass_80_simt_sgemm" in finding.lines[-1]
    for healthy in (
        multiplied(plain=1.0, tensor_cores=6.0),
        multiplied(plain=2.0, tensor_cores=3.0),
        multiplied(plain=0.5),
    ):
        assert the("precision.unused_tensor_cores", healthy) is None


def test_what_switched_them_off_is_named() -> None:
    state = multiplied(plain=6.0)
    state.apply(
        ev.DebugSwitch(t=T0 + 3, src="agent", pid=4711, name="tensor_float_32_off", on=True, place="train.py:9")
    )
    finding = the("precision.unused_tensor_cores", state)
    assert finding is not None and finding.knob is None
    assert finding.lines[0].endswith("enable_tensor_float_32_execution(False) at train.py:9")
    assert the("host.debugging", state) is None
    state = multiplied(plain=6.0)
    state.apply(ev.Preflight(t=T0, facts={"env": {"NVIDIA_TF32_OVERRIDE": "0"}}))
    finding = the("precision.unused_tensor_cores", state)
    assert finding is not None and finding.next == "unset NVIDIA_TF32_OVERRIDE"


def test_collectives_name_replicas_and_batch() -> None:
    finding = the("compute.collectives", exchanging(4.0))
    assert finding is not None and (finding.severity, finding.knob) == ("warning", None)
    assert finding.lines[0] == "4.00 ms of 10.0 ms a step in CollectiveReduceV2 while nothing else runs"
    assert finding.lines[1] == "2 replicas, 16 examples each, 40.0M parameters"
