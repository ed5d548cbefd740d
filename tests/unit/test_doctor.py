"""The environment's verdict, on what the probe would find on machines that are not here, and on this one."""

import sys
from typing import Any

import pytest

from tfgpu_tui import doctor

WHEEL = "/env/lib/python3.11/site-packages/nvidia/{}/lib/{}"


def machine(**changes: Any) -> dict[str, Any]:
    """A GPU machine where everything is right, changed in some points."""
    libraries = {
        name: {"soname": f"lib{name}.so.12", "loader": False, "wheel": WHEEL.format(name, f"lib{name}.so.12")}
        for name in ("cudart", "cublas", "cusolver")
    }
    found: dict[str, Any] = {
        "python": "3.11.7",
        "executable": "/env/bin/python",
        "distributions": {"tensorflow": "2.20.0"},
        "tensorflow_dir": "/env/lib/python3.11/site-packages/tensorflow",
        "build": {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"},
        "libraries": libraries,
        "runpath": ":".join(f"$ORIGIN/../nvidia/{n}/lib" for n in libraries),
        "env": {},
        "devices": 1,
        "pci": 1,
        "module": "NVRM version: 560.35",
        "cuda_driver": {"init": 0, "cuda": "12.6", "count": 1, "capabilities": [[9, 0]]},
    }
    return {**found, **changes}


def ids(result: doctor.Result) -> list[str]:
    return [f.id for f in result.findings]


def test_a_good_machine_is_good() -> None:
    result = doctor.judge(machine())
    assert (result.exit_code, result.findings) == (0, [])
    assert result.verdict == "TensorFlow will use 1 GPU(s)."


@pytest.mark.parametrize(
    ("changes", "finding", "advice"),
    [
        ({"build": {"is_cuda_build": False}, "libraries": {}}, "gpu.cpu_build", "tensorflow[and-cuda]"),
        ({"env": {"CUDA_VISIBLE_DEVICES": ""}, "cuda_driver": {"init": 100}}, "gpu.hidden", "unset"),
        ({"cuda_driver": {"error": "libcuda.so.1: cannot open"}}, "gpu.driver", "--gpus all"),
        ({"runpath": "$ORIGIN/../nvidia/cudart/lib:$ORIGIN/../nvidia/cublas/lib"}, "gpu.cuda_libs_not_found",
         "LD_LIBRARY_PATH=/env/lib/python3.11/site-packages/nvidia/cusolver/lib"),
        ({"libraries": {"cudnn": {"soname": "libcudnn.so.9", "loader": False, "wheel": None}}},
         "gpu.cuda_libs_missing", "tensorflow[and-cuda]==2.20.0"),
    ],
)  # fmt: skip
def test_what_keeps_tensorflow_from_the_gpu(changes: dict[str, Any], finding: str, advice: str) -> None:
    result = doctor.judge(machine(**changes))
    assert ids(result) == [finding]
    assert result.exit_code == 1
    assert advice in result.findings[0].next
    assert advice in result.text()


def test_no_gpu_and_no_tensorflow() -> None:
    bare = machine(devices=0, pci=0, cuda_driver={"error": "no libcuda"}, module=None)
    assert doctor.judge(bare).exit_code == 1
    assert ids(doctor.judge(bare)) == ["gpu.none"]
    assert doctor.judge(machine(tensorflow_dir=None, build=None)).exit_code == 2


def test_the_real_probe_runs_here() -> None:
    result = doctor.run(sys.executable)
    assert result.exit_code in (0, 1)
    assert any(c.name == "interpreter" and sys.executable in c.detail for c in result.checks)
    assert result.as_json()["verdict"] == result.verdict


def test_an_interpreter_that_does_not_start_is_a_sentence() -> None:
    result = doctor.run("/nonexistent/python")
    assert result.exit_code == 2
    assert "could not be started" in result.verdict
