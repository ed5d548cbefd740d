"""Family A: TensorFlow does not see the GPU, or can't use it as it should (pure).

Three witnesses: what was found in the script's environment as it started (`gpu_causes`), TensorFlow's own messages
(`diagnostics`), and what its process really lists. Only the last decides that a GPU is not used; the others say why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from tfgpu_tui.core.events import Diagnostic
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import gpu_causes
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.gpu_causes import install_gpu_build, no_gpu

CERTAIN_BEFORE = ("gpu.cpu_build", "gpu.cuda_libs_missing", "gpu.cuda_libs_not_found", "gpu.driver")
"""Causes that no line of the script can still undo; the environment's GPUs can be shown or hidden by it."""


def findings(state: RunState) -> Iterator[Finding]:
    """gpu.none; the causes for which no GPU is used, or gpu.not_used where none is established; and what is wrong with
    one that is used: gpu.arch_unsupported, gpu.cudnn_mismatch, gpu.xla_tools_missing."""
    env, status = state.environment, state.gpu_status
    if env.nvidia_devices is None or status is None:
        return  # Not looked yet: nothing to say.
    if (
        env.nvidia_devices == 0
        and status.status != "ok"
        and not env.tf_gpus
        and not gpu_causes.gpus_in_box(_facts(state))
    ):
        yield no_gpu({"nvidia_devices": 0, "nvml": status.status, "message": status.message})
    elif env.backend not in (None, "tensorflow"):
        return  # run.other_backend: what TensorFlow does with a GPU is not the question
    elif env.tf_gpus:
        yield from _used_but(state)
    elif env.tf_gpus is not None:
        yield from _not_used(state)
    elif env.tensorflow not in (None, "missing"):
        yield from _will_not_be_used(state)


def said(state: RunState, *ids: str) -> list[Diagnostic]:
    """TensorFlow's messages of these kinds, in the order of `ids`."""
    return [d for wanted in ids for d in state.diagnostics.values() if d.id == wanted]


def _facts(state: RunState) -> Facts:
    """What was found in the environment, with the GPUs that NVML shows; empty where it was not looked at."""
    facts = state.preflight.facts if state.preflight else {}
    return {**facts, "devices": max(facts.get("devices") or 0, len(state.gpus))} if facts else {}


def _expected(state: RunState) -> list[Finding]:
    return gpu_causes.causes(_facts(state))


def _will_not_be_used(state: RunState) -> Iterator[Finding]:
    """While TensorFlow has not been asked for its GPUs: what is certain already."""
    for finding in _expected(state):
        if finding.severity == "critical" and finding.id in CERTAIN_BEFORE:
            yield replace(finding, severity="warning", incomplete="TensorFlow has not looked for its GPUs yet")


def _not_used(state: RunState) -> Iterator[Finding]:
    """TensorFlow lists no GPU: every cause that is established, the strongest witness first."""
    env, status = state.environment, state.gpu_status
    assert status is not None
    evidence: Mapping[str, object] = {
        "nvidia_devices": env.nvidia_devices, "nvml": status.status, "message": status.message,
        "tensorflow": env.tensorflow, "build": env.tensorflow_build, "visible_devices": env.visible_devices,
        "messages": [d.meaning for d in state.diagnostics.values() if d.level == "error"],
    }  # fmt: skip
    found: dict[str, Finding] = {}
    sources: tuple[Callable[[RunState], Iterable[Finding]], ...] = (_by_process, _critical, _by_messages, _by_nvml)
    for source in sources:
        for finding in source(state):
            follows = finding.id == "gpu.driver" and "gpu.hidden" in found  # a container without GPUs has no driver
            if finding.id not in found and not follows:
                found[finding.id] = replace(finding, evidence={**evidence, **finding.evidence})
    if found:
        yield from found.values()
        return
    yield Finding(
        id="gpu.not_used",
        severity="critical",
        title="TensorFlow lists no GPU although this machine has one",
        lines=[f"TensorFlow {env.tensorflow} ({env.tensorflow_build}), {env.nvidia_devices} NVIDIA GPU(s)"],
        next="Run `tfgpu-tui doctor` with the same interpreter: it asks the CUDA driver, too.",
        evidence=evidence,
        incomplete="which library or setting is to blame is not known from inside the run",
    )


def _critical(state: RunState) -> list[Finding]:
    return [f for f in _expected(state) if f.severity == "critical"]


def _by_process(state: RunState) -> Iterator[Finding]:
    """What the script's own process said: its build, its CUDA_VISIBLE_DEVICES, its set_visible_devices."""
    env = state.environment
    boxes = min(int(env.nvidia_devices or 0), gpu_causes.MOST_GPUS)
    if env.tensorflow_build == "cpu":
        # What stands in its packages says more than that.
        yield next(
            (f for f in _expected(state) if f.id == "gpu.cpu_build"),
            Finding(
                id="gpu.cpu_build",
                severity="critical",
                title="this TensorFlow is a CPU build: it can't use the GPU of this machine",
                lines=[f"TensorFlow {env.tensorflow}, {boxes} NVIDIA GPU(s) in the machine"],
                next=install_gpu_build(env.tensorflow),
            ),
        )
        return
    if env.physical_gpus:
        yield Finding(
            id="gpu.hidden",
            severity="critical",
            title=f"The script hides its GPUs: tf.config.set_visible_devices leaves none of {env.physical_gpus}",
            next="Remove the set_visible_devices call, or give it the GPUs that it should use.",
            evidence={"physical_gpus": env.physical_gpus},
        )
    elif env.visible_devices is not None and env.visible_devices.strip() in gpu_causes.HIDING:
        asked = state.run is not None and "visible_devices" in state.run.knobs
        before = (_facts(state).get("env") or {}).get("CUDA_VISIBLE_DEVICES")
        by_script = bool(_facts(state)) and before != env.visible_devices
        yield Finding(
            id="gpu.hidden",
            severity="info" if asked else "critical",
            title=f"The GPU is hidden from the script: CUDA_VISIBLE_DEVICES={env.visible_devices!r}",
            lines=[
                "the knob visible_devices asked for it"
                if asked
                else "the script itself, or a module that it imports, set it"
                if by_script
                else "it was set where the run was started"
            ],
            next="Unset CUDA_VISIBLE_DEVICES (in the shell, the job script or the training script).",
            knob=None if asked or by_script or not boxes else "visible_devices=" + ",".join(map(str, range(boxes))),
        )


_MESSAGE_CAUSES: tuple[tuple[str, str, str, str], ...] = (
    # message, finding, title, next step
    ("cuda.kernel_mismatch", "gpu.driver", "The NVIDIA driver was updated without a reboot",
     "Reboot, or reload the nvidia kernel module."),
    ("cuda.driver_mismatch", "gpu.driver", "The NVIDIA driver's library and its kernel module differ in version",
     "Reboot, or reload the nvidia kernel module."),
    ("cuda.no_driver_library", "gpu.driver", "The NVIDIA driver's library libcuda.so.1 is not here",
     "Install the NVIDIA driver (in a container: start it with --gpus all)."),
    ("cuda.no_device", "gpu.hidden", "The CUDA driver shows no GPU to the script",
     "Look at CUDA_VISIBLE_DEVICES; in a container start it with --gpus all."),
    ("cuda.init_failed", "gpu.driver", "The CUDA driver does not start",
     "nvidia-smi tells more; often a reboot ends it."),
    ("cuda.library", "gpu.cuda_libs_missing", "A CUDA library can't be loaded",
     'pip install "tensorflow[and-cuda]" of the same version, or add its folder to LD_LIBRARY_PATH.'),
    ("cuda.no_libraries", "gpu.cuda_libs_missing", "The CUDA libraries of TensorFlow can't be loaded",
     'pip install "tensorflow[and-cuda]" of the same version.'),
    ("cuda.gpu_ignored", "gpu.arch_unsupported", "TensorFlow leaves a GPU out",
     "TF_MIN_GPU_MULTIPROCESSOR_COUNT=1 takes small GPUs in, too."),
)  # fmt: skip


def _by_messages(state: RunState) -> Iterator[Finding]:
    for message, finding, title, step in _MESSAGE_CAUSES:
        heard = said(state, message)
        if heard:
            yield Finding(
                id=finding,
                severity="critical",
                title=title,
                lines=[d.meaning for d in heard],
                next=step,
                evidence={"message": message, **heard[0].values},
            )
    if said(state, "cuda.gpus_skipped") and not said(state, "cuda.library", "cuda.no_libraries"):
        gaps = [f for f in _expected(state) if f.id.startswith("gpu.cuda_libs")]
        if not gaps:
            yield Finding(
                id="gpu.cuda_libs_missing",
                severity="critical",
                title="At least one CUDA library can't be loaded, so TensorFlow left every GPU out",
                next="Run `tfgpu-tui doctor` with the same interpreter: it looks for each of them.",
                incomplete="TensorFlow does not say which one",
            )


def _by_nvml(state: RunState) -> Iterator[Finding]:
    status = state.gpu_status
    if status is None or status.status not in ("mismatch", "no_driver", "no_library"):
        return
    yield Finding(
        id="gpu.driver",
        severity="critical",
        title="The NVIDIA driver does not answer: TensorFlow lists no GPU",
        lines=[status.message or status.status],
        next=(
            "Reboot, or reload the nvidia kernel module: the library and the module are of different versions."
            if status.status == "mismatch"
            else "Install the NVIDIA driver (in a container: start it with --gpus all)."
        ),
    )


def _used_but(state: RunState) -> Iterator[Finding]:
    """A GPU is used, and something about it is not as it should be."""
    yield from _architecture(state)
    for heard in said(state, "cudnn.too_old"):
        yield Finding(
            id="gpu.cudnn_mismatch",
            severity="critical",
            title=f"cuDNN {heard.values.get('runtime')} was loaded; this TensorFlow was built for "
            f"{heard.values.get('built')}",
            lines=["convolutions and recurrent layers fail or are refused"],
            next='pip install -U "nvidia-cudnn-cu12<10"; a framework that pins the old one needs its own environment.',
            evidence=dict(heard.values),
        )
    if not said(state, "cudnn.too_old", "cudnn.loaded"):
        yield from (replace(f, severity="warning") for f in _expected(state) if f.id == "gpu.cudnn_mismatch")
    missing = [word for word, ids in (("libdevice", "xla.no_libdevice"), ("ptxas", "xla.no_ptxas")) if said(state, ids)]
    if missing:
        version = (_facts(state).get("requires") or {}).get("nvidia_cuda_nvcc_cu12")
        why = "; ".join(d.meaning for d in said(state, "xla.no_libdevice", "xla.no_ptxas"))
        yield gpu_causes.xla_tools_missing(missing, "warning", version, why)


def _architecture(state: RunState) -> Iterator[Finding]:
    facts = _facts(state)
    refused = said(state, "gpu.ptx_refused")
    if refused:
        yield Finding(
            id="gpu.arch_unsupported",
            severity="critical",
            title="The driver can't compile this TensorFlow's kernels for the GPU",
            lines=[refused[0].meaning],
            next="Update the NVIDIA driver, or take the TensorFlow version made for this GPU.",
            evidence={"message": "gpu.ptx_refused"},
        )
        return
    for gpu in state.environment.tf_gpus or ():
        capability = tuple(gpu.get("capability") or ())
        if len(capability) == 2 and facts.get("build"):
            found = list(gpu_causes.capability_finding(str(gpu.get("name")), capability, facts))
            if found:
                yield found[0]
                return
    for heard in said(state, "gpu.jit_from_ptx"):
        yield Finding(
            id="gpu.arch_unsupported",
            severity="info",
            title=f"This TensorFlow has no machine code for compute capability {heard.values.get('capability')}: "
            "the first run compiles it, for minutes",
            lines=[heard.meaning],
            next="Wait the first run out; export CUDA_CACHE_MAXSIZE=4294967296 keeps all of it.",
            evidence=dict(heard.values),
        )
        return
