"""Why TensorFlow will not use a GPU, from the facts of its environment alone (pure; the facts are doctor/probe.py's).

Both `tfgpu-tui doctor` and a run's own findings ask here. Each cause has its evidence and the command that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tfgpu_tui.core.rows import Facts
from tfgpu_tui.diagnose.finding import Finding

DRIVER_FOR_CUDA = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
"""The oldest driver on Linux that runs programs of a CUDA major version (NVIDIA's CUDA release notes, "minor version
compatibility"; not tried here)."""
FIRST_WITH_PTX_OF = {"12.5": "555.42.06", "12.3": "545.23.08"}
"""A driver compiles PTX only of a CUDA version that it knows: that compatibility does not cover it (the same notes)."""
HIDING = ("", "-1", "none", "NoDevFiles", "void")
"""Values of CUDA_VISIBLE_DEVICES that hide every GPU; the last ones are words of schedulers and container runtimes."""


def install_gpu_build(version: str | None) -> str:
    """The command that replaces a CPU build, or both wheels installed over each other, by the GPU build."""
    package = "tensorflow[and-cuda]" + (f"=={version}" if version else "")
    return f'pip uninstall -y tensorflow tensorflow-cpu && pip install "{package}"'


MOST_GPUS = 256
"""In one machine: what names more is no machine's own."""


def version_of(text: str | None) -> tuple[int, ...]:
    """`555.42.06` -> (555, 42, 6); () where there is none."""
    return tuple(int(part) for part in re.findall(r"\d{1,18}", text or ""))


def gpus_in_box(facts: Facts) -> int:
    """NVIDIA GPUs that there are, used or not. On WSL2 and Jetson they are on no PCI bus: one, where a driver is."""
    seen = max(facts.get("pci") or 0, facts.get("devices") or 0, (facts.get("cuda_driver") or {}).get("count") or 0)
    off_bus = facts.get("platform") in ("wsl2", "jetson") and (facts.get("driver_library") or {}).get("path")
    return min(int(seen), MOST_GPUS) or (1 if off_bus else 0)


def tensorflow_version(facts: Facts) -> str | None:
    """Of the distribution that is installed, by whatever name."""
    dists = facts.get("distributions") or {}
    names = ("tensorflow", "tensorflow_cpu", "tensorflow_gpu", "tf_nightly", "tf_nightly_cpu")
    return next((str(dists[name]) for name in names if name in dists), None)


def causes(facts: Facts) -> list[Finding]:
    """Everything that keeps TensorFlow from the GPU (critical), or will hurt once it has one (warning, info). Nothing
    about a machine without a GPU, or without TensorFlow."""
    build = facts.get("build")
    if not gpus_in_box(facts) or not build:
        return []
    if not build.get("is_cuda_build"):
        return [] if build.get("is_rocm_build") else [_cpu_build(facts)]
    found = [*_both_wheels(facts), *_hidden(facts)]
    if not any(f.id == "gpu.hidden" for f in found):
        found += _driver(facts)
    return [*found, *_libraries(facts), *_capability(facts), *_old_packages(facts), *_xla_tools(facts)]


def _cpu_build(facts: Facts) -> Finding:
    dists, conda = facts.get("distributions") or {}, facts.get("conda") or {}
    both = "tensorflow" in dists and "tensorflow_cpu" in dists
    builds = ", ".join(f"{name} {build}" for name, build in conda.items())
    return Finding(
        id="gpu.cpu_build",
        severity="critical",
        title="tensorflow and tensorflow-cpu are installed over each other, and the CPU build is what is left"
        if both
        else "this TensorFlow is a CPU build: it can't use the GPU of this machine",
        lines=[f"{gpus_in_box(facts)} NVIDIA GPU(s) in the machine", *([f"conda build {builds}"] if builds else [])],
        next='conda install "tensorflow=*=cuda*"' if builds else install_gpu_build(tensorflow_version(facts)),
        evidence={"distributions": dists, "conda": conda},
    )


def _both_wheels(facts: Facts) -> Iterator[Finding]:
    dists = facts.get("distributions") or {}
    if "tensorflow" in dists and "tensorflow_cpu" in dists:
        yield Finding(
            id="gpu.cpu_build",
            severity="warning",
            title="tensorflow and tensorflow-cpu are installed over each other",
            lines=["the GPU build was written last; the next update of either can turn it into the CPU build"],
            next=install_gpu_build(dists["tensorflow"]),
            evidence={"distributions": dists},
        )


def _hidden(facts: Facts) -> Iterator[Finding]:
    visible = (facts.get("env") or {}).get("CUDA_VISIBLE_DEVICES")
    boxes, job = gpus_in_box(facts), facts.get("scheduler") or {}
    listed = (facts.get("cuda_driver") or {}).get("count")
    granted = any(name in job for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_ON_NODE"))
    if "SLURM_JOB_ID" in job and not granted and (visible in HIDING or not facts.get("devices")):
        yield _hidden_by(
            f"SLURM gave job {job['SLURM_JOB_ID']} no GPU",
            "Ask for one: sbatch --gres=gpu:1 (or #SBATCH --gpus=1).",
            {"scheduler": dict(job), "CUDA_VISIBLE_DEVICES": visible},
        )
    elif visible is not None and shows_nothing(visible, facts):
        yield _hidden_by(
            f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU",
            "unset CUDA_VISIBLE_DEVICES",
            {"CUDA_VISIBLE_DEVICES": visible, "gpus": boxes},
            "visible_devices=" + ",".join(map(str, range(boxes))),
        )
    elif facts.get("container") and not facts.get("devices") and not listed and facts.get("platform") is None:
        asked = (facts.get("env") or {}).get("NVIDIA_VISIBLE_DEVICES")
        kubernetes = facts["container"] == "kubernetes"
        yield _hidden_by(
            f"this container ({facts['container']}) was given none of the {boxes} GPU(s) of its machine",
            "Ask for one in the pod: resources: limits: nvidia.com/gpu: 1"
            if kubernetes
            else "Start it with docker run --gpus all (podman: --device nvidia.com/gpu=all; singularity: --nv).",
            {"container": facts["container"], "pci": facts.get("pci"), "devices": 0, "NVIDIA_VISIBLE_DEVICES": asked},
        )


def shows_nothing(visible: str, facts: Facts) -> bool:
    """Whether the CUDA driver lists no GPU under this CUDA_VISIBLE_DEVICES: its first entry is none of the GPUs."""
    first = visible.split(",")[0].strip()
    if first in HIDING:
        return True
    driver = facts.get("cuda_driver") or {}
    if driver.get("count") is not None or driver.get("error"):
        return "NO_DEVICE" in str(driver.get("error")) or driver.get("count") == 0
    count = facts.get("devices") or facts.get("pci") or 0
    return first.isdigit() and facts.get("platform") is None and int(first) >= count


def _hidden_by(title: str, step: str, evidence: Mapping[str, object], knob: str | None = None) -> Finding:
    return Finding(id="gpu.hidden", severity="critical", title=title, next=step, evidence=evidence, knob=knob)


def _driver(facts: Facts) -> Iterator[Finding]:
    module, library = facts.get("module"), facts.get("driver_library") or {}
    driver, cuda = facts.get("cuda_driver") or {}, (facts.get("build") or {}).get("cuda_version")
    evidence: dict[str, object] = {"module": module, "library": library}
    if driver:
        evidence["cuda_driver"] = driver
    own_module = facts.get("platform") is None  # WSL2 and Jetson have no module of their own to look at
    needs = DRIVER_FOR_CUDA.get(str(cuda or "12").split(".")[0], "")
    if own_module and module is None and not facts.get("devices") and not driver.get("count"):
        yield _driver_is(
            "the NVIDIA kernel module is not loaded", "sudo modprobe nvidia (or install the NVIDIA driver).", evidence
        )
    elif library.get("path") is None:
        inside = facts.get("container")
        yield _driver_is(
            "the driver's library libcuda.so.1 is not here",
            "Start the container with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility."
            if inside
            else "Install the NVIDIA driver's CUDA library (package libnvidia-compute, or nvidia-driver).",
            evidence,
        )
    elif module and library.get("version") and version_of(module) != version_of(library["version"]):
        yield _driver_is(
            f"the kernel module is {module}, the driver's library {library['version']}",
            "Reboot, or sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia.",
            evidence,
        )
    elif forbidden := facts.get("forbidden"):
        yield _driver_is(
            f"this user may not open {', '.join(forbidden)}",
            "sudo usermod -aG video,render $USER, then log in again.",
            {**evidence, "forbidden": forbidden},
        )
    elif module and version_of(module) < version_of(needs):
        yield _driver_is(
            f"driver {module} is too old for this TensorFlow, which needs {needs} or newer",
            f"Update the NVIDIA driver to {needs} or newer.",
            {**evidence, "needs": needs, "cuda_version": cuda},
        )
    elif driver.get("error"):
        yield _driver_is(
            f"the CUDA driver does not start: {driver['error']}",
            "nvidia-smi tells more; a reboot ends most of these states.",
            evidence,
        )


def _driver_is(title: str, step: str, evidence: Mapping[str, object]) -> Finding:
    return Finding(id="gpu.driver", severity="critical", title=title, next=step, evidence=evidence)


def library_folders(facts: Facts) -> list[str]:
    """The folders that LD_LIBRARY_PATH needs so that TensorFlow finds the CUDA libraries that are installed as packages
    and that its own search path (RUNPATH) leaves out. Empty where it finds all of them, or they are not installed."""
    libraries = (facts.get("libraries") or {}).values()
    gaps = [package for x in libraries if x["path"] is None and (package := x["package"])]
    return sorted({package.rpartition("/")[0] for package in gaps})


def _libraries(facts: Facts) -> Iterator[Finding]:
    libraries = facts.get("libraries") or {}
    missing = [x["soname"] for x in libraries.values() if x["path"] is None and not x["package"]]
    gaps = [x["soname"] for x in libraries.values() if x["path"] is None and x["package"]]
    version = tensorflow_version(facts)
    if missing:
        yield Finding(
            id="gpu.cuda_libs_missing",
            severity="critical",
            title=f"CUDA libraries are not installed: {', '.join(missing)}",
            lines=["without any one of them TensorFlow leaves every GPU out and trains on the CPU"],
            next=f'pip install "tensorflow[and-cuda]{f"=={version}" if version else ""}"',
            evidence={"missing": missing},
        )
    if gaps:
        folders = ":".join(library_folders(facts))
        yield Finding(
            id="gpu.cuda_libs_not_found",
            severity="critical",
            title=f"installed, but not where TensorFlow looks: {', '.join(gaps)}",
            lines=["the search path inside TensorFlow's library leaves that folder out (a defect of TensorFlow 2.21.0)"
                   if version == "2.21.0" else "the search path inside TensorFlow's library leaves that folder out"],
            next=f"export LD_LIBRARY_PATH={folders}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}",
            evidence={"not_found": gaps, "folders": library_folders(facts), "runpath": facts.get("runpath")},
            knob=f"library_path={folders}",
        )  # fmt: skip


def _capability(facts: Facts) -> Iterator[Finding]:
    for gpu in (facts.get("cuda_driver") or {}).get("gpus") or ():
        yield from capability_finding(str(gpu.get("name")), tuple(gpu["capability"]), facts)


def capability_finding(name: str, capability: tuple[int, ...], facts: Facts) -> Iterator[Finding]:
    """Whether this TensorFlow has kernels for that GPU. `sm_xy` in its list is machine code for x.y and later x.*;
    `compute_xy` is that and PTX, which the driver can compile for anything newer (configure.py of TensorFlow)."""
    build = facts.get("build") or {}
    built = [str(word) for word in build.get("cuda_compute_capabilities") or ()]
    parsed = [re.fullmatch(r"(sm|compute)_(\d+)(\d)", word) for word in built]
    have = [(int(m.group(2)), int(m.group(3)), m.group(1)) for m in parsed if m]
    if not have or any(major == capability[0] and minor <= capability[1] for major, minor, _ in have):
        return
    text, module = ".".join(map(str, capability)), facts.get("module")
    evidence: Mapping[str, object] = {
        "gpu": name,
        "capability": text,
        "built_for": built,
        "driver": module,
    }
    if any(kind == "compute" and (major, minor) < capability for major, minor, kind in have):
        cuda = ".".join(str(build.get("cuda_version") or "").split(".")[:2])
        needs = FIRST_WITH_PTX_OF.get(cuda)
        old = needs is not None and module is not None and version_of(module) < version_of(needs)
        yield Finding(
            id="gpu.arch_unsupported",
            severity="critical" if old else "info",
            title=f"this TensorFlow has no machine code for {name} (compute capability {text})"
            + (f", and driver {module} can't compile it" if old else ": the first run compiles it, for minutes"),
            lines=["the driver keeps what it compiled in ~/.nv/ComputeCache; later runs start as usual"],
            next=f"Update the NVIDIA driver to {needs} or newer."
            if old
            else "Wait the first run out; export CUDA_CACHE_MAXSIZE=4294967296 keeps all of it.",
            evidence=evidence,
        )
        return
    lowest = min((major, minor) for major, minor, _ in have)
    yield Finding(
        id="gpu.arch_unsupported",
        severity="critical",
        title=f"{name} (compute capability {text}) is too old for this TensorFlow, which starts at "
        f"{lowest[0]}.{lowest[1]}",
        next='pip install "tensorflow[and-cuda]==2.16.2" (5.0 and later), or use a newer GPU.',
        evidence=evidence,
    )


def _old_packages(facts: Facts) -> Iterator[Finding]:
    """cuDNN as it will be loaded, against what TensorFlow's metadata asks for."""
    needs = (facts.get("requires") or {}).get("nvidia_cudnn_cu12")
    loaded = (facts.get("libraries") or {}).get("cudnn")
    path = loaded["path"] if loaded else None
    if loaded is None or path is None:
        return
    named = re.search(r"\.so\.(\d+\.\d+[\d.]*)$", loaded.get("file") or "")
    from_package = path == loaded["package"]
    package = (facts.get("distributions") or {}).get("nvidia_cudnn_cu12")
    have = package if from_package else named.group(1) if named else None
    if needs and have and version_of(have)[:2] < version_of(needs)[:2]:
        yield Finding(
            id="gpu.cudnn_mismatch",
            severity="critical",
            title=f"cuDNN {have} will be loaded; this TensorFlow needs {needs} or newer",
            lines=[f"from {path}" + (f" (by {loaded.get('source')})" if not from_package else "")],
            next=f'pip install "nvidia-cudnn-cu12>={needs},<10"; another framework that pins the old one needs its own '
            "environment."
            if from_package
            else f"Take {path.rpartition('/')[0]} out of LD_LIBRARY_PATH.",
            evidence={"needs": needs, "have": have, "path": path, "source": loaded.get("source")},
        )


def _xla_tools(facts: Facts) -> Iterator[Finding]:
    tools = facts.get("xla_tools")
    missing = [name for name, path in (tools or {}).items() if path is None]
    if missing and all(x["path"] or x["package"] for x in (facts.get("libraries") or {}).values()):
        version = (facts.get("requires") or {}).get("nvidia_cuda_nvcc_cu12")
        yield xla_tools_missing(missing, "warning", version, "Keras 3 compiles with XLA on a GPU unless told otherwise")


def xla_tools_missing(missing: list[str], severity: str, version: str | None, why: str) -> Finding:
    """XLA lacks `ptxas` or `libdevice`, which one package brings."""
    return Finding(
        id="gpu.xla_tools_missing",
        severity=severity,
        title=f"XLA can't find {' and '.join(missing)}: compiling for the GPU is slow or fails",
        lines=[why],
        next=f'pip install "nvidia-cuda-nvcc-cu12{f">={version}" if version else ""},<13", or jit_compile=False.',
        evidence={"missing": missing},
        knob="jit_compile=off",
    )


def no_gpu(evidence: Mapping[str, object]) -> Finding:
    """Said once, and no fault."""
    return Finding(
        id="gpu.none",
        severity="info",
        title="No NVIDIA GPU in this machine: training runs on the CPU",
        lines=["no device on the PCI bus or under /dev, and NVML is not there"],
        next="Nothing to change here; everything else of the monitor works.",
        evidence=evidence,
    )
