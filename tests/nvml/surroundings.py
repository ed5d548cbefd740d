"""Environments as files: an interpreter's packages and a machine, for the doctor's real probe to look at."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.nvml import scenarios
from tests.nvml.build import CUDA_LIBRARY, hollow
from tfgpu_tui import doctor

DRIVER = "570.148.08"
LIBRARIES = {"cuda_runtime": "libcudart.so.12", "cublas": "libcublas.so.12", "cufft": "libcufft.so.11",
             "cusolver": "libcusolver.so.11", "cusparse": "libcusparse.so.12", "cudnn": "libcudnn.so.9"}  # fmt: skip
REQUIRES = {"nvidia-cudnn-cu12": "9.3.0.75", "nvidia-cuda-nvcc-cu12": "12.5.82", "nvidia-cublas-cu12": "12.5.3.2"}
BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9",
         "cuda_compute_capabilities": ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]}  # fmt: skip
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Fri Nov 21 10:00:00 UTC 2026\n"


@dataclass
class Surroundings:
    """A machine under `root`, packages under `site`, and the CUDA driver's stand-in. All in order, until changed."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    version: str = "2.20.0"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def site(self) -> Path:
        return self.folder / "site-packages"

    @property
    def driver(self) -> Path:
        return self.folder / "driver"

    def file(self, path: str, text: str = "") -> Path:
        """A file of the machine."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def remove(self, *paths: str) -> None:
        for path in paths:
            target = self.root / path.lstrip("/")
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    def distribution(self, name: str, version: str, metadata: str = "") -> None:
        folder = self.site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{metadata}")

    def without(self, distribution: str) -> None:
        for folder in self.site.glob(f"{distribution}-*.dist-info"):
            shutil.rmtree(folder)

    def tensorflow(self, build: dict[str, Any] = BUILD, runpath: Iterator[str] | None = None) -> None:
        """The package's files that the probe reads; its library finds the folders in `runpath`."""
        package = self.site / "tensorflow"
        (package / "python" / "platform").mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("raise AssertionError('the doctor imports no TensorFlow')\n")
        text = f"build_info = collections.OrderedDict({build!r})\n"
        (package / "python" / "platform" / "build_info.py").write_text("import collections\n" + text)
        folders = ":".join(f"$ORIGIN/../nvidia/{name}/lib" for name in (LIBRARIES if runpath is None else runpath))
        hollow(package / "libtensorflow_framework.so.2", f"-Wl,--enable-new-dtags,-rpath,{folders}")

    def libraries(self) -> None:
        """NVIDIA's packages: the files are asked for, not loaded."""
        for name, library in LIBRARIES.items():
            target = self.site / "nvidia" / name / "lib" / library
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        (self.site / "nvidia/cublas/lib/libcublasLt.so.12").touch()
        for tool in ("bin/ptxas", "nvvm/libdevice/libdevice.10.bc"):
            target = self.site / "nvidia" / "cuda_nvcc" / tool
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        for name, version in REQUIRES.items():
            self.distribution(name.replace("-", "_"), version)

    def gpus(self, *gpus: scenarios.Gpu, faults: list[dict[str, Any]] | None = None, module: str = DRIVER) -> None:
        """What the driver shows."""
        scenarios.play(self.folder / "scenario.json", scenarios.scenario(*gpus, faults=faults))
        self.file("/proc/driver/nvidia/version", MODULE.format(module))
        for index in range(len(gpus)):
            self.file(f"/sys/bus/pci/devices/0000:{index + 1}7:00.0/vendor", "0x10de\n")
            self.file(f"/sys/bus/pci/devices/0000:{index + 1}7:00.0/class", "0x030200\n")
            self.file(f"/dev/nvidia{index}")
        self.file("/dev/nvidiactl")

    def examined(self) -> doctor.Result:
        """What the doctor says here."""
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        given = {"PYTHONPATH": str(self.site), "LD_LIBRARY_PATH": str(self.driver), "PATH": "/usr/bin:/bin",
                 "NVML_SIM": str(self.folder / "scenario.json"), "HOME": str(self.folder)}  # fmt: skip
        for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "XLA_FLAGS", "KERAS_BACKEND", "TF_USE_LEGACY_KERAS"):
            self.monkeypatch.delenv(variable, raising=False)
        for name, value in {**given, **self.variables}.items():
            self.monkeypatch.setenv(name, value)
        return doctor.run(str(python), root=str(self.root))


def healthy(folder: Path, driver: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    """One H200, a driver, the GPU build with its libraries, Keras 3. `driver` holds the stand-in's libcuda.so.1."""
    here = Surroundings(folder, monkeypatch)
    here.driver.mkdir()
    shutil.copy(driver / CUDA_LIBRARY, here.driver / f"libcuda.so.{DRIVER}")
    (here.driver / CUDA_LIBRARY).symlink_to(f"libcuda.so.{DRIVER}")
    asked = "".join(f"Requires-Dist: {n} <99,>={v} ; extra == 'and-cuda'\n" for n, v in REQUIRES.items())
    here.distribution("tensorflow", here.version, asked)
    here.distribution("keras", "3.15.1")
    here.tensorflow()
    here.libraries()
    here.gpus(scenarios.gpu())
    here.file("/proc/version", "Linux version 6.1.0 (gcc)\n")
    return here
