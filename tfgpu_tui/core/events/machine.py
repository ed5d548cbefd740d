"""The machine that a run is on: told by the supervisor's samplers, and of TensorFlow's part by the agent."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from tfgpu_tui.core import rows
from tfgpu_tui.core.events.base import Event
from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class Environment(Event):
    """The machine (from the supervisor) and TensorFlow (from the agent). Two events merge: None never overwrites."""

    type: ClassVar[str] = "environment"
    senders: ClassVar[tuple[str, ...]] = ("host", "agent")
    host: str | None = None
    cpu_model: str | None = None
    cpu_count: int | None = None
    """CPUs that the training may use (affinity), not those in the box."""
    cpus: list[int] | None = None
    """Numbers of those CPUs; None until the training's own process told them."""
    cpu_half: list[str] | None = None
    """The 16-bit dtypes that the CPU has arithmetic for (float16, bfloat16); None where that is not known."""
    cpu_quota: float | None = None
    """CPUs granted by the cgroup (cpu.max), e.g. 1.5; None where there is no quota."""
    memory_total_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """cgroup limit; None where there is none."""
    nvidia_devices: int | None = None
    """NVIDIA GPUs on the PCI bus or as /dev/nvidia[0-9]*: what is in the box, whether or not the driver works."""
    driver: str | None = None
    python: str | None = None
    tensorflow: str | None = None
    """Version; `missing` where the script's interpreter can't import it."""
    tensorflow_build: str | None = None
    """`cuda 12.5.1`, `rocm` or `cpu`."""
    keras: str | None = None
    keras_flavour: str | None = None
    """keras3 | keras2 | tf_keras | none."""
    backend: str | None = None
    tf_gpus: list[rows.TensorflowGpu] | None = None
    """GPUs that TensorFlow lists; empty when it lists none, None before it was asked."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES as the script saw it; None where unset."""
    physical_gpus: int | None = None
    """GPUs that TensorFlow found before `tf.config.set_visible_devices`; None before it was asked."""
    messages_from: str | None = None
    """Where TensorFlow's own messages are read: `terminal`, `file`, or `nowhere` (the caller's pipe or terminal)."""


@dataclass(frozen=True, kw_only=True)
class Preflight(Event):
    """What was found in the script's environment while it started, without importing TensorFlow."""

    type: ClassVar[str] = "preflight"
    senders: ClassVar[tuple[str, ...]] = ("host",)
    facts: rows.Facts = field(default_factory=rows.Facts)
    took_ms: float | None = None
    problem: str | None = None
    """Why there are no facts, where there are none."""


@dataclass(frozen=True, kw_only=True)
class HostSample(Event):
    """The machine and the training's process tree; rates are over the time since the last sample."""

    type: ClassVar[str] = "host_sample"
    senders: ClassVar[tuple[str, ...]] = ("host",)
    cpu_percent: float | None = None
    """Whole machine, 0..100."""
    cores_percent: list[float] = field(default_factory=list)
    tree_cpu_percent: float | None = None
    """The script and all its descendants; 100 is one core."""
    tree_rss_bytes: int | None = None
    script_rss_bytes: int | None = None
    processes: int | None = None
    threads: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    cgroup_memory_bytes: int | None = None
    oom_kills: int | None = None
    """Processes that the kernel's out-of-memory killer has ended so far, in this cgroup or else on the machine."""
    throttled_percent: float | None = None
    """Share of the interval in which the cgroup's CPU quota held the training back."""
    disk_read_bps: float | None = None
    """Bytes a second read from storage by the tree; not all of what network and FUSE file systems give is counted."""
    file_read_bps: float | None = None
    """Bytes a second that the tree got by reading whatever it had opened, cached or not."""
    disk_write_bps: float | None = None
    net_recv_bps: float | None = None
    """Whole machine."""
    net_sent_bps: float | None = None


@dataclass(frozen=True, kw_only=True)
class GpuSample(Event):
    """Every GPU that NVML shows. `status` is `ok`, or says why there is nothing."""

    type: ClassVar[str] = "gpu_sample"
    senders: ClassVar[tuple[str, ...]] = ("gpu",)
    status: str = "ok"
    """ok | no_library | no_driver | no_gpu | mismatch | hung | crashed | error."""
    message: str | None = None
    gpus: list[rows.Gpu] = field(default_factory=list)
    read_ms: float | None = None
    """What this sample took in the driver."""


@dataclass(frozen=True, kw_only=True)
class ReadFiles(Event):
    """Which files of data the run's processes have open, seen from outside while steps wait for input; cumulative."""

    type: ClassVar[str] = "read_files"
    senders: ClassVar[tuple[str, ...]] = ("host",)
    looks: int
    """At all of its processes."""
    folders: list[rows.ReadFolder] = field(default_factory=list)
    """Those most often seen."""


@dataclass(frozen=True, kw_only=True)
class Standstill(Event):
    """A look from outside while no steps come, every few seconds; and once more when they come again (`over`)."""

    type: ClassVar[str] = "standstill"
    senders: ClassVar[tuple[str, ...]] = ("host",)
    quiet_s: float
    """Since the last step, less the time in which the script or the machine was suspended, or a debugger held it."""
    still_s: float = 0.0
    """The last part of it in which nothing computed and nothing moved."""
    cpu_percent: float | None = None
    """Of all processes of the run since the look before; 100 is one core."""
    moved_bps: float | None = None
    """Bytes a second that they read and wrote."""
    gpu_busy_percent: float | None = None
    """Highest of the run's GPUs since the look before; None without a GPU."""
    works: str | None = None
    """What was at work since the look before, in words; None where nothing was."""
    answered: bool | None = None
    """Whether the script's own process answered the last question for its stacks; None where it was not asked yet, and
    where that one answer is late."""
    first_question: int = 0
    """Number of the first question of this standstill: answers to older ones tell of another time."""
    processes: list[rows.ProcessStands] = field(default_factory=list)
    """The script first."""
    over: bool = False
    stood: bool = False
    """With `over`: whether it had been judged to stand still."""


EVENTS: tuple[type[Event], ...] = (Environment, Preflight, HostSample, GpuSample, ReadFiles, Standstill)
