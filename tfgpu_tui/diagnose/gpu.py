"""Family A: TensorFlow does not see the GPU (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.state import RunState


def install_gpu_build(version: str | None) -> str:
    """The command that replaces a CPU build, or both wheels installed over each other, by the GPU build."""
    package = "tensorflow[and-cuda]" + (f"=={version}" if version else "")
    return f'pip uninstall -y tensorflow tensorflow-cpu && pip install "{package}"'


def findings(state: RunState) -> Iterator[Finding]:
    """gpu.none, gpu.hidden, gpu.cpu_build, gpu.driver, or gpu.not_used where the cause is not established."""
    env = state.environment
    status = state.gpu_status
    if env.nvidia_devices is None or status is None:
        return  # Not looked yet: nothing to say.
    evidence = {"nvidia_devices": env.nvidia_devices, "nvml": status.status, "message": status.message}
    if env.nvidia_devices == 0 and status.status != "ok":
        yield Finding(
            id="gpu.none",
            severity="info",
            title="No NVIDIA GPU in this machine: training runs on the CPU",
            lines=["no device on the PCI bus or under /dev, and NVML is not there"],
            next="Nothing to change here; everything else of the monitor works.",
            evidence=evidence,
        )
        return
    if env.tf_gpus is None or env.tf_gpus:
        return  # TensorFlow has not been asked yet, or it does see a GPU.
    evidence |= {
        "tensorflow": env.tensorflow,
        "build": env.tensorflow_build,
        "visible_devices": env.visible_devices,
    }
    if env.tensorflow_build == "cpu":
        yield Finding(
            id="gpu.cpu_build",
            severity="critical",
            title="This TensorFlow is a CPU build: it can't use the GPU of this machine",
            lines=[f"TensorFlow {env.tensorflow}, {env.nvidia_devices} NVIDIA GPU(s) in the machine"],
            next=install_gpu_build(env.tensorflow),
            evidence=evidence,
        )
    elif env.visible_devices is not None and env.visible_devices.strip() in ("", "-1", "none", "NoDevFiles"):
        yield Finding(
            id="gpu.hidden",
            severity="critical",
            title=f"The GPU is hidden from the script: CUDA_VISIBLE_DEVICES={env.visible_devices!r}",
            lines=[f"{env.nvidia_devices} NVIDIA GPU(s) in the machine, TensorFlow lists none"],
            next="Unset CUDA_VISIBLE_DEVICES (in the shell, the job script or the training script).",
            evidence=evidence,
        )
    elif status.status in ("mismatch", "no_driver", "no_library"):
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
            evidence=evidence,
        )
    else:
        yield Finding(
            id="gpu.not_used",
            severity="critical",
            title="TensorFlow lists no GPU although this machine has one",
            lines=[f"TensorFlow {env.tensorflow} ({env.tensorflow_build}), {env.nvidia_devices} NVIDIA GPU(s)"],
            next="Run `tfgpu-tui doctor` with the same interpreter: it checks the driver and each CUDA library.",
            evidence=evidence,
            incomplete="which library or setting is to blame is not known from inside the run",
        )
