"""The doctor in environments that are broken in one way each: the cause is named rightly, with the way out of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.nvml.build import build_cuda
from tests.nvml.scenarios import gpu
from tests.nvml.surroundings import BUILD, LIBRARIES, Surroundings, healthy
from tests.process.conftest import Workplace
from tests.process.conftest import place as place
from tfgpu_tui import doctor
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.diagnose import gpu_causes


@pytest.fixture(scope="session")
def cuda(library: Path) -> Path:
    return build_cuda(library)


@pytest.fixture
def here(tmp_path: Path, cuda: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return healthy(tmp_path, cuda, monkeypatch)


def check(result: doctor.Result, name: str) -> doctor.Check:
    return next(c for c in result.checks if c.name == name)


def test_where_all_is_well_nothing_is_said(here: Surroundings) -> None:
    result = here.examined()
    assert (result.exit_code, result.findings) == (0, [])
    assert result.verdict == "TensorFlow will use 1 GPU(s)."
    assert [c.name for c in result.checks if c.ok is False or c.fix] == []
    assert check(result, "libcusolver.so.11").detail.endswith("(by RUNPATH)")
    assert "570.148.08" in check(result, "driver library").detail
    assert "NVIDIA H200 (9.0)" in check(result, "CUDA driver").detail


def cpu_build(here: Surroundings) -> None:
    here.tensorflow({"is_cuda_build": False})
    here.without("tensorflow")
    here.distribution("tensorflow_cpu", "2.20.0")


def both_wheels(here: Surroundings) -> None:
    here.tensorflow({"is_cuda_build": False})
    here.distribution("tensorflow_cpu", "2.20.0")


def no_libraries(here: Surroundings) -> None:
    shutil.rmtree(here.site / "nvidia")


def runpath_gap(here: Surroundings) -> None:
    here.without("tensorflow")
    here.distribution("tensorflow", "2.21.0")
    here.tensorflow(runpath=(name for name in LIBRARIES if name != "cusolver"))


def hidden(value: str) -> Callable[[Surroundings], None]:
    def change(here: Surroundings) -> None:
        here.variables["CUDA_VISIBLE_DEVICES"] = value

    return change


def container_without_gpus(here: Surroundings) -> None:
    here.file("/.dockerenv")
    here.remove("/dev", "/proc/driver")
    shutil.rmtree(here.driver)


def pod_without_gpus(here: Surroundings) -> None:
    container_without_gpus(here)
    here.variables["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"


def job_without_gpus(here: Surroundings) -> None:
    here.variables |= {"SLURM_JOB_ID": "4711", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}


def module_not_loaded(here: Surroundings) -> None:
    here.remove("/dev", "/proc/driver")
    shutil.rmtree(here.driver)


def no_driver_library(here: Surroundings) -> None:
    shutil.rmtree(here.driver)


def updated_without_reboot(here: Surroundings) -> None:
    here.gpus(gpu(), faults=[{"call": "cuInit", "error": 803}], module="570.86.10")


def driver_too_old(here: Surroundings) -> None:
    here.gpus(gpu(), module="515.105.01")
    old = here.driver / "libcuda.so.515.105.01"
    (here.driver / "libcuda.so.570.148.08").rename(old)
    (here.driver / "libcuda.so.1").unlink()
    (here.driver / "libcuda.so.1").symlink_to(old.name)


def driver_does_not_start(here: Surroundings) -> None:
    here.gpus(gpu(), faults=[{"call": "cuInit", "error": 999}])


def gpu_too_old(here: Surroundings) -> None:
    here.gpus(gpu(capability=[5, 2], name="NVIDIA GeForce GTX 980"))


def gpu_too_new_for_the_driver(here: Surroundings) -> None:
    here.gpus(gpu(capability=[12, 0], name="NVIDIA GeForce RTX 5090"), module="550.54.15")
    new = here.driver / "libcuda.so.550.54.15"
    (here.driver / "libcuda.so.570.148.08").rename(new)
    (here.driver / "libcuda.so.1").unlink()
    (here.driver / "libcuda.so.1").symlink_to(new.name)


def old_cudnn(here: Surroundings) -> None:
    here.without("nvidia_cudnn_cu12")
    here.distribution("nvidia_cudnn_cu12", "9.1.0.70")


def shadowed_cudnn(here: Surroundings) -> None:
    folder = here.folder / "cuda" / "lib64"
    folder.mkdir(parents=True)
    (folder / "libcudnn.so.9.1.0").touch()
    (folder / "libcudnn.so.9").symlink_to("libcudnn.so.9.1.0")
    here.variables["LD_LIBRARY_PATH"] = f"{here.driver}:{folder}"


@pytest.mark.parametrize(
    ("change", "finding", "title", "advice"),
    [
        (cpu_build, "gpu.cpu_build", "is a CPU build", 'pip install "tensorflow[and-cuda]==2.20.0"'),
        (both_wheels, "gpu.cpu_build", "installed over each other", "pip uninstall -y tensorflow tensorflow-cpu"),
        (no_libraries, "gpu.cuda_libs_missing", "libcudart.so.12", 'pip install "tensorflow[and-cuda]==2.20.0"'),
        (runpath_gap, "gpu.cuda_libs_not_found", "libcusolver.so.11", "/nvidia/cusolver/lib"),
        (hidden(""), "gpu.hidden", "CUDA_VISIBLE_DEVICES=''", "unset CUDA_VISIBLE_DEVICES"),
        (hidden("-1"), "gpu.hidden", "CUDA_VISIBLE_DEVICES='-1'", "unset CUDA_VISIBLE_DEVICES"),
        (hidden("7"), "gpu.hidden", "CUDA_VISIBLE_DEVICES='7'", "unset CUDA_VISIBLE_DEVICES"),
        (hidden("GPU-of-another-box"), "gpu.hidden", "GPU-of-another-box", "unset CUDA_VISIBLE_DEVICES"),
        (container_without_gpus, "gpu.hidden", "this container (docker) was given none", "--gpus all"),
        (pod_without_gpus, "gpu.hidden", "this container (kubernetes)", "nvidia.com/gpu: 1"),
        (job_without_gpus, "gpu.hidden", "SLURM gave job 4711 no GPU", "--gres=gpu:1"),
        (module_not_loaded, "gpu.driver", "kernel module is not loaded", "sudo modprobe nvidia"),
        (no_driver_library, "gpu.driver", "libcuda.so.1 is not here", "libnvidia-compute"),
        (updated_without_reboot, "gpu.driver", "570.86.10, the driver's library 570.148.08", "Reboot"),
        (driver_too_old, "gpu.driver", "driver 515.105.01 is too old", "525.60.13 or newer"),
        (driver_does_not_start, "gpu.driver", "CUDA_ERROR_UNKNOWN", "nvidia-smi"),
        (gpu_too_old, "gpu.arch_unsupported", "GTX 980 (compute capability 5.2) is too old", "2.16.2"),
        (gpu_too_new_for_the_driver, "gpu.arch_unsupported", "driver 550.54.15 can't compile it", "555.42.06"),
        (old_cudnn, "gpu.cudnn_mismatch", "cuDNN 9.1.0.70 will be loaded", "nvidia-cudnn-cu12>=9.3.0.75"),
        (shadowed_cudnn, "gpu.cudnn_mismatch", "cuDNN 9.1.0 will be loaded", "out of LD_LIBRARY_PATH"),
    ],
    ids=lambda x: x.__name__ if callable(x) and not isinstance(x, str) else None,
)
def test_each_cause_is_named(
    here: Surroundings, change: Callable[[Surroundings], None], finding: str, title: str, advice: str
) -> None:
    change(here)
    result = here.examined()
    assert [f.id for f in result.findings] == [finding]
    assert result.exit_code == 1
    assert title in result.findings[0].title and title in result.verdict
    assert advice in result.findings[0].next
    assert result.text().startswith(result.verdict)
    assert result.findings[0].evidence


def test_what_only_hurts_later_is_said_without_a_no(here: Surroundings) -> None:
    shutil.rmtree(here.site / "nvidia" / "cuda_nvcc")
    result = here.examined()
    assert [(f.id, f.severity, f.knob) for f in result.findings] == [
        ("gpu.xla_tools_missing", "warning", "jit_compile=off")
    ]
    assert result.exit_code == 0
    assert "nvidia-cuda-nvcc-cu12>=12.5.82" in str(check(result, "XLA's ptxas").fix)


def test_both_wheels_with_the_gpu_build_last(here: Surroundings) -> None:
    here.distribution("tensorflow_cpu", "2.20.0")
    result = here.examined()
    assert [(f.id, f.severity) for f in result.findings] == [("gpu.cpu_build", "warning")]
    assert (result.exit_code, check(result, "packages").ok) == (0, False)


def test_a_new_gpu_needs_patience_only(here: Surroundings) -> None:
    here.gpus(gpu(capability=[12, 0], name="NVIDIA GeForce RTX 5090"))
    result = here.examined()
    assert [(f.id, f.severity) for f in result.findings] == [("gpu.arch_unsupported", "info")]
    assert result.exit_code == 0


@pytest.mark.parametrize("capability", [[6, 1], [7, 5], [8, 0], [8, 6], [8, 9], [9, 0]])
def test_gpus_with_machine_code_in_the_wheel(here: Surroundings, capability: list[int]) -> None:
    here.gpus(gpu(capability=capability))
    assert here.examined().findings == []


def test_a_build_that_does_not_say_what_it_is_for(here: Surroundings) -> None:
    here.tensorflow({"is_cuda_build": True})  # 2.22
    result = here.examined()
    assert (result.exit_code, result.findings) == (0, [])


def test_the_knob_repairs_the_gap(here: Surroundings) -> None:
    runpath_gap(here)
    before = here.examined()
    folder = str(here.site / "nvidia" / "cusolver" / "lib")
    assert before.findings[0].knob == f"library_path={folder}"
    assert before.findings[0].evidence["folders"] == [folder]
    here.variables["LD_LIBRARY_PATH"] = f"{here.driver}:{folder}"
    after = here.examined()
    assert (after.exit_code, after.findings) == (0, [])
    assert check(after, "libcusolver.so.11").detail.endswith("(by LD_LIBRARY_PATH)")


def test_the_folders_for_the_knob(here: Surroundings) -> None:
    runpath_gap(here)
    here.examined()
    python = str(here.folder / "python")
    assert doctor.library_folders(python) == [str(here.site / "nvidia" / "cusolver" / "lib")]
    assert doctor.library_folders("/nonexistent/python") == []


def test_the_knob_finds_the_folders_by_itself(here: Surroundings, place: Workplace) -> None:
    runpath_gap(here)
    here.examined()
    place.env |= {"PYTHONPATH": f"{here.site}:{place.env['PYTHONPATH']}", "LD_LIBRARY_PATH": str(here.driver)}
    script = place.script("import os; print(os.environ['LD_LIBRARY_PATH'])")
    done = place.tool("--headless", "--set", "library_path=auto", "--python", here.folder / "python", script)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == f"{here.site}/nvidia/cusolver/lib:{here.driver}"


def test_a_machine_without_a_gpu(here: Surroundings) -> None:
    here.remove("/sys", "/dev", "/proc/driver")
    shutil.rmtree(here.driver)
    result = here.examined()
    assert [(f.id, f.severity) for f in result.findings] == [("gpu.none", "info")]
    assert result.verdict == "TensorFlow will not use a GPU: there is no NVIDIA GPU in this machine."
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2\n"),
        ("/proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0"),
    ],
    ids=["wsl2", "jetson"],
)
def test_a_gpu_that_is_not_on_the_pci_bus(here: Surroundings, file: str, text: str) -> None:
    here.remove("/sys", "/dev", "/proc/driver")
    here.file(file, text)
    result = here.examined()
    assert (result.exit_code, result.findings) == (0, [])


def test_device_files_that_may_not_be_opened(here: Surroundings) -> None:
    facts: Facts = {**_facts(here), "forbidden": ["/dev/nvidia0"]}
    result = doctor.judge(facts)
    assert [f.id for f in result.findings] == ["gpu.driver"]
    assert "usermod" in str(check(result, "permissions").fix)


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every file")
def test_forbidden_files_are_seen(here: Surroundings) -> None:
    (here.root / "dev" / "nvidia0").chmod(0)
    assert [f.id for f in here.examined().findings] == ["gpu.driver"]


def test_a_conda_build_is_named_with_condas_command(here: Surroundings) -> None:
    facts: Facts = {**_facts(here), "build": {"is_cuda_build": False}, "conda": {"tensorflow": "cpu_py311h_0"}}
    (finding,) = doctor.judge(facts).findings
    assert "cpu_py311h_0" in finding.lines[1]
    assert finding.next == 'conda install "tensorflow=*=cuda*"'


def _facts(here: Surroundings) -> Facts:
    here.examined()
    return doctor.examine(str(here.folder / "python"), root=str(here.root))


def test_no_tensorflow_at_all(here: Surroundings) -> None:
    shutil.rmtree(here.site / "tensorflow")
    result = here.examined()
    assert result.exit_code == 2
    assert "has no TensorFlow" in result.verdict
    assert check(result, "packages").fix


def test_build_info_that_can_not_be_read(here: Surroundings) -> None:
    (here.site / "tensorflow/python/platform/build_info.py").write_text("build_info = broken(")
    result = here.examined()
    assert result.exit_code == 2
    assert "SyntaxError" in check(result, "TensorFlow build").detail


def test_keras_that_does_not_fit(here: Surroundings) -> None:
    here.variables["KERAS_BACKEND"] = "jax"
    jax = check(here.examined(), "Keras")
    assert (jax.ok, jax.fix) == (False, "export KERAS_BACKEND=tensorflow")
    here.variables = {"TF_USE_LEGACY_KERAS": "1"}
    legacy = check(here.examined(), "Keras")
    assert (legacy.ok, legacy.fix) == (False, 'pip install "tf_keras~=2.20.0"')
    here.distribution("tf_keras", "2.20.1")
    assert check(here.examined(), "Keras").ok


def test_few_cpus_beside_a_gpu(here: Surroundings) -> None:
    here.file("/proc/self/cgroup", "0::/job\n")
    here.file("/sys/fs/cgroup/job/cpu.max", "50000 100000\n")
    cpus = check(here.examined(), "CPUs")
    assert cpus.ok is False and "grants 0.5" in cpus.detail
    assert "--cpus 8" in str(cpus.fix)


def test_the_quick_look_asks_no_driver(here: Surroundings) -> None:
    here.gpus(gpu(), faults=[{"call": "cuInit", "hang": True}])
    python = here.folder / "python"
    here.variables["CUDA_VISIBLE_DEVICES"] = "0"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    here.monkeypatch.setenv("PYTHONPATH", str(here.site))
    here.monkeypatch.setenv("LD_LIBRARY_PATH", str(here.driver))
    facts = doctor.examine(str(python), quick=True, root=str(here.root))
    assert "cuda_driver" not in facts
    assert gpu_causes.causes(facts) == []


def test_json_is_the_same_verdict(here: Surroundings) -> None:
    hidden("-1")(here)
    result = here.examined()
    told = json.loads(json.dumps(result.as_json()))
    assert (told["verdict"], told["exit_code"]) == (result.verdict, 1)
    assert [f["id"] for f in told["findings"]] == ["gpu.hidden"]
    assert all({"name", "ok", "detail", "fix"} == set(c) for c in told["checks"])


def test_here_and_now() -> None:
    result = doctor.run(sys.executable)
    assert result.exit_code in (0, 1)
    assert any(c.name == "interpreter" and sys.executable in c.detail for c in result.checks)


def test_an_interpreter_that_does_not_start_is_a_sentence() -> None:
    result = doctor.run("/nonexistent/python")
    assert result.exit_code == 2
    assert "could not be started" in result.verdict


def test_the_capabilities_of_build_info_are_read_as_tensorflow_means_them() -> None:
    facts = cast(Facts, {"build": BUILD})
    assert [f.severity for f in gpu_causes.capability_finding("a", (10, 0), facts)] == ["info"]
    assert [f.severity for f in gpu_causes.capability_finding("a", (5, 0), facts)] == ["critical"]
    assert list(gpu_causes.capability_finding("a", (8, 7), facts)) == []
    assert list(gpu_causes.capability_finding("a", (9, 9), {"build": {}})) == []
