"""The facts of an environment as a list of checks, each with its evidence and the command that fixes it (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfgpu_tui.core import requirements, units
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.gpu_causes import gpus_in_box, tensorflow_version

FEW_CPUS = 2
INSTALL_FOR_CPU = "pip install tensorflow-cpu; or name the interpreter that has TensorFlow: --python PATH"
NOTED = {
    # What a variable of the environment changes, for those whose name does not say it.
    "CUDA_DEVICE_ORDER": "numbers the GPUs (PCI_BUS_ID: as nvidia-smi does)",
    "CUDA_VISIBLE_DEVICES": "the GPUs that are seen, in this order",
    "LD_LIBRARY_PATH": "searched before TensorFlow's own folders",
    "LD_PRELOAD": "loaded into every program",
    "TF_FORCE_GPU_ALLOW_GROWTH": "decides about memory growth, whatever the script says",
    "TF_MIN_GPU_MULTIPROCESSOR_COUNT": "leaves smaller GPUs out",
    "NVIDIA_TF32_OVERRIDE": "0 switches TF32 off",
    "TF_XLA_FLAGS": "XLA for graphs that did not ask for it",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `ok` is None where it could not be told, or does not matter here."""

    name: str
    ok: bool | None
    detail: str
    fix: str | None = None
    """The command (or the sentence) that puts it right."""


def checks(facts: Facts, findings: list[Finding]) -> list[Check]:
    """Everything that was looked at, from the interpreter down to the hardware and up to Keras."""
    fixes: dict[str, str] = {}
    for finding in findings:
        fixes.setdefault(finding.id, finding.next)
    return [
        *_python(facts, fixes),
        *_machine(facts, fixes),
        *_cuda(facts, fixes),
        *_surroundings(facts),
        *_keras(facts),
    ]


def _python(facts: Facts, fixes: dict[str, str]) -> Iterator[Check]:
    kind = "virtual environment" if facts.get("virtual") else "not a virtual environment"
    yield Check("interpreter", None, f"python {facts['python']}, {facts['executable']} ({kind})")
    dists = facts.get("distributions") or {}
    named = ", ".join(f"{k} {v}" for k, v in dists.items() if not k.startswith("nvidia_"))
    both = "tensorflow" in dists and "tensorflow_cpu" in dists
    conda = ", ".join(f"{name} {build}" for name, build in (facts.get("conda") or {}).items())
    found = facts.get("tensorflow_dir") is not None
    half = {name: part for name, part in (facts.get("incomplete") or {}).items() if part}
    fix = fixes.get("gpu.cpu_build", 'pip install "tensorflow[and-cuda]"' if gpus_in_box(facts) else INSTALL_FOR_CPU)
    yield Check(
        "packages",
        found and not both,
        (named or "none of TensorFlow's") + (f"; conda: {conda}" if conda else ""),
        None if (found and not both) or "tensorflow" in half else fix,
    )
    for name, part in half.items():
        yield Check(name, False, f"half installed: {requirements.lack(name, part)}", requirements.reinstall(name, part))
    unfit = requirements.unfit(facts)
    if unfit:
        told = "; ".join(f"{name} {version}, TensorFlow asks for {spec}" for name, version, spec in unfit)
        yield Check("versions", None, told, f"If TensorFlow fails at its import: {requirements.repair(facts)}")
    build = facts.get("build")
    if build is None:
        if found:
            yield Check("TensorFlow build", None, f"build_info can't be read: {facts.get('build_error')}")
        return
    cuda = bool(build.get("is_cuda_build"))
    wants = f"CUDA {build.get('cuda_version', 'unknown')}, cuDNN {build.get('cudnn_version', 'unknown')}"
    archs = " ".join(map(str, build.get("cuda_compute_capabilities") or ()))
    detail = (
        wants + (f", for {archs}" if archs else "") if cuda else "ROCm" if build.get("is_rocm_build") else "CPU only"
    )
    yield Check("TensorFlow build", cuda, detail, None if cuda else fixes.get("gpu.cpu_build"))


def _machine(facts: Facts, fixes: dict[str, str]) -> Iterator[Check]:
    boxes = gpus_in_box(facts)
    where = f"{facts.get('pci', 0)} on the PCI bus, {facts.get('devices', 0)} under /dev"
    yield Check("GPUs in the machine", boxes > 0, where + (f" ({facts['platform']})" if facts.get("platform") else ""))
    if not boxes:
        return
    fix, library = fixes.get("gpu.driver"), facts.get("driver_library") or {}
    module = facts.get("module")
    if facts.get("platform") is None:
        ok = True if module else None if (facts.get("cuda_driver") or {}).get("count") else False
        yield Check("kernel module", ok, module or "not loaded", None if module else fix)
    yield Check(
        "driver library",
        library.get("path") is not None,
        f"{library['path']}, {library.get('version') or 'of unknown version'}" if library.get("path") else "not found",
        None if library.get("path") else fix,
    )
    if forbidden := facts.get("forbidden"):
        yield Check("permissions", False, f"this user may not open {', '.join(forbidden)}", fix)
    driver = facts.get("cuda_driver")
    if driver is None:
        return
    gpus = ", ".join(f"{g['name']} ({'.'.join(map(str, g['capability']))})" for g in driver.get("gpus") or ())
    yield Check(
        "CUDA driver",
        bool(driver.get("count")),
        f"CUDA {driver.get('cuda')}, {driver['count']} GPU(s): {gpus}"
        if driver.get("count")
        else str(driver.get("error")),
        None if driver.get("count") else fix or fixes.get("gpu.hidden"),
    )
    if gpus:
        fix = fixes.get("gpu.arch_unsupported")
        yield Check("compute capability", fix is None, "built in" if fix is None else "not built in", fix)


def _cuda(facts: Facts, fixes: dict[str, str]) -> Iterator[Check]:
    for library in (facts.get("libraries") or {}).values():
        if library["path"]:
            yield Check(library["soname"], True, f"{library['path']} (by {library['source']})")
        elif library["package"]:
            detail = f"{library['package']}, where TensorFlow does not look"
            yield Check(library["soname"], False, detail, fixes.get("gpu.cuda_libs_not_found"))
        else:
            yield Check(library["soname"], False, "not found", fixes.get("gpu.cuda_libs_missing"))
    if "gpu.cudnn_mismatch" in fixes:
        yield Check("cuDNN version", False, "older than TensorFlow asks for", fixes["gpu.cudnn_mismatch"])
    if lacking := requirements.unfit_nvidia(facts):
        told = "; ".join(_unfit(name.replace("_", "-"), have, needs) for name, have, needs in lacking)
        version = tensorflow_version(facts)
        # Which of them a training needs is its own matter (NCCL: several GPUs): what keeps it from a GPU stands above.
        yield Check("NVIDIA packages", None, told, f'pip install "tensorflow[and-cuda]=={version}"')
    for name, path in (facts.get("xla_tools") or {}).items():
        fix = None if path else fixes.get("gpu.xla_tools_missing")
        yield Check(f"XLA's {name}", True if path else False if fix else None, path or "not found", fix)


def _unfit(package: str, have: str | None, needs: str) -> str:
    return f"{package} {have or 'is not installed'}, TensorFlow asks for {needs}"


def _surroundings(facts: Facts) -> Iterator[Check]:
    for name, value in (facts.get("env") or {}).items():
        yield Check(name, None, f"{value!r}" + (f": {NOTED[name]}" if name in NOTED else ""))
    if facts.get("container"):
        yield Check("container", None, str(facts["container"]))
    for name, value in (facts.get("scheduler") or {}).items():
        yield Check(name, None, str(value))
    cpus = facts.get("cpus") or {}
    quota, usable = cpus.get("quota"), cpus.get("usable")
    granted = min(quota or usable or 0, usable or 0)
    short = bool(gpus_in_box(facts)) and 0 < granted < FEW_CPUS
    quota_words = f", of which the cgroup grants {units.number(quota)}" if quota is not None else ""
    more = "--cpus-per-task=8 (SLURM)" if facts.get("scheduler") else "--cpus 8 (docker run), or a higher CPU limit"
    yield Check(
        "CPUs",
        False if short else None,
        f"{usable} of {cpus.get('count')} usable{quota_words}",
        f"Ask for more: {more}; few cores starve a GPU of its input." if short else None,
    )


def _keras(facts: Facts) -> Iterator[Check]:
    choice, dists = facts.get("keras") or {}, facts.get("distributions") or {}
    if facts.get("tensorflow_dir") is None or not choice:
        return
    version = str(dists.get("keras", ""))
    if choice["legacy"] == "yes":
        there = "tf_keras" in dists
        wanted = ".".join((tensorflow_version(facts) or "").split(".")[:2])
        yield Check(
            "Keras",
            there,
            f"tf.keras is tf_keras {dists.get('tf_keras', '(not installed)')} (TF_USE_LEGACY_KERAS)",
            None if there else "pip install " + (f'"tf_keras~={wanted}.0"' if wanted else "tf_keras"),
        )
    elif version.startswith("3"):
        other = choice["backend"] != "tensorflow"
        yield Check(
            "Keras",
            not other,
            f"Keras {version} on {choice['backend']}"
            + (": its models don't run on TensorFlow at all" if other else ""),
            "export KERAS_BACKEND=tensorflow" if other else None,
        )
    elif version:
        yield Check("Keras", True, f"Keras {version}")
