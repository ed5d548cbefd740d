"""The life of a run: told by the supervisor, which owns the journal."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from tfgpu_tui.core.events.base import Event
from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """First line of a journal."""

    type: ClassVar[str] = "run_started"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    id: str
    argv: list[str]
    """The script and its arguments, as typed after the tool's own options (`["-m", "pkg", …]` for a module)."""
    cwd: str
    python: str
    """Path of the interpreter that runs the script."""
    mode: str = "pty"
    """`pty` (screen) or `headless`."""
    knobs: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    """Id of the run that this one reruns."""
    tool_version: str = ""
    interval_s: float = 0.5
    stall_after_s: float = 60.0
    """Without a step for so long (and much longer than steps take) it is asked whether the training stands still; 0 is
    never."""
    simulated: str | None = None
    """Said in the status line and the report when the hardware is simulated (`SIMULATED GPU`)."""
    host: str = ""
    """Name of the machine; '' in older journals, as the next two."""
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id: one start of one kernel."""
    pid_namespace: str = ""
    """/proc/self/ns/pid: in which the numbers of processes here mean something."""


@dataclass(frozen=True, kw_only=True)
class ChildStarted(Event):
    """The script's process exists; `pid` is the script's."""

    type: ClassVar[str] = "child_started"
    senders: ClassVar[tuple[str, ...]] = ("child",)


@dataclass(frozen=True, kw_only=True)
class Log(Event):
    """output.log grew: the script's output up to `size_bytes` lies in the file; `capped` when the rest is dropped."""

    type: ClassVar[str] = "log"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    size_bytes: int
    capped: bool = False


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Event):
    """A message of TensorFlow's own on stderr that `diagnostics.py` knows. Told at its first time, and again as its
    count doubles."""

    type: ClassVar[str] = "diagnostic"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    id: str
    level: str = "info"
    """noise | info | warning | error."""
    file: str = ""
    """Base name of the C++ file that wrote it."""
    meaning: str = ""
    """In our words."""
    values: dict[str, str] = field(default_factory=dict)
    """What the line names (a library, two versions, a device)."""
    count: int = 1
    """How often it was seen with these values so far."""


@dataclass(frozen=True, kw_only=True)
class OutOfMemory(Event):
    """An allocation that failed, from TensorFlow's dump in the output. What it does not say is None."""

    type: ClassVar[str] = "out_of_memory"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    case: str | None = None
    """too_big (one tensor is larger than the limit) | full | fragmented | no_room (the device has less than that)."""
    allocator: str | None = None
    device: str | None = None
    """`GPU:0`, or `CPU`."""
    wanted_bytes: int | None = None
    op: str | None = None
    limit_bytes: int | None = None
    in_use_bytes: int | None = None
    peak_bytes: int | None = None
    pool_bytes: int | None = None
    largest_free_bytes: int | None = None
    shape: list[int] | None = None
    dtype: str | None = None
    chunks: list[list[int]] = field(default_factory=list)
    """The largest groups in use: number of chunks, bytes of each."""


@dataclass(frozen=True, kw_only=True)
class Stopping(Event):
    """A stop was asked for: `stage` is `batch`, `interrupt`, `terminate` or `kill`; the next comes after `grace_s`.
    After the script's last line: `interpreter` and `kill interpreter`, where its interpreter did not close. After its
    end: `children` and `kill children`, where processes of the run outlived it."""

    type: ClassVar[str] = "stopping"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    stage: str
    grace_s: float | None = None
    reason: str = "user"


@dataclass(frozen=True, kw_only=True)
class Rerun(Event):
    """A rerun that was asked for while this run goes on: its supervisor starts it when the script has ended. Told
    whenever its state changes, always before the run's last event."""

    type: ClassVar[str] = "rerun"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    state: str
    """asked | taken_back | begun (`id` is the new run's) | failed (`error` says why)."""
    knobs: dict[str, str] = field(default_factory=dict)
    id: str | None = None
    error: str | None = None

    @property
    def pending(self) -> bool:
        """It will start when the script has ended."""
        return self.state == "asked"


@dataclass(frozen=True, kw_only=True)
class Standing(Event):
    """Which findings stand, as the supervisor judged them: told whenever that changes, so that a reader who begins at a
    checkpoint knows since when."""

    type: ClassVar[str] = "standing"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    since: dict[str, float]
    """Id of each finding -> unix seconds, in the order in which they are shown."""
    severity: dict[str, str] = field(default_factory=dict)
    """Id of each -> critical | warning | info; empty in older journals."""


@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """Last line of a journal. One of `exit_code` and `signal` is set; neither where how it ended can't be known. Of a
    script whose interpreter we ended (`closed_by`) they are what its process would have ended with."""

    type: ClassVar[str] = "run_ended"
    senders: ClassVar[tuple[str, ...]] = ("child",)
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool | None = None
    """Whether the kernel wrote a core dump; None where no signal ended it, or where that can't be known."""
    wall_s: float = 0.0
    stopped: str | None = None
    """Why it was stopped, where that is how it ended: `user`, `rerun`, `stop-after`, …"""
    steps: int = 0
    """Training steps until then."""
    closed_by: int | None = None
    """The signal that we ended its interpreter with, which did not close after the script's own code was over."""


EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    ChildStarted,
    Log,
    Diagnostic,
    OutOfMemory,
    Stopping,
    Rerun,
    Standing,
    RunEnded,
)
