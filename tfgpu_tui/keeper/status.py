"""What the keeper tells the supervisor: one packet holds all of it, so the newest one is enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

PACKET_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Status:
    """The script and its output as the keeper knows them."""

    keeper: int
    """The keeper's process."""
    pid: int | None = None
    """The script's process; a zombie after its end, so that its number is never another's. None: not started."""
    begun: float = 0.0
    """When it was started, unix seconds."""
    clock_base: float = 0.0
    """See `supervisor.clock.base`: the run's time, whatever is done to the machine's clock."""
    spawn_error: str | None = None
    """Why it could not be started."""
    code: int | None = None
    """Exit code, or minus the signal that ended it; None while it runs."""
    core_dumped: bool | None = None
    """Where a signal ended it: whether the kernel wrote a core dump."""
    drained: bool = False
    """After its end: all that its terminal held lies in output.log."""
    capped: bool = False
    """Output had to be left out."""
    output_error: str | None = None
    """Why output.log could not be written, when it could not."""
    socket_error: str | None = None
    """Why there is no socket, where there is none."""
    lost_supervisor: str | None = None
    """How the supervisor before this one ended; None for the first."""
    lost_at: float = 0.0
    """When that was, unix seconds."""


def encode(status: Status) -> bytes:
    """One packet."""
    return json.dumps(asdict(status)).encode()


def decode(packet: bytes) -> Status:
    """Raises ValueError or TypeError where it is none."""
    return Status(**json.loads(packet))
