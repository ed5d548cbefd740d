"""Family C: the pipeline waits for files or a network, and which file system those files lie on (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import ReadFolder, Stage
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.input_machine import IDLE_WAIT, rounded, typical
from tfgpu_tui.diagnose.stages import batch_s, input_knob, named, serial_map, stage_evidence, stage_label

READ_BYTES_PER_STEP = 4096
MIN_LOOKS, SEEN = 3, 0.1
"""Looks, and the share of all looks, from which the training is said to read from a folder."""
SHOWN = 3
REMOTE = {
    "nfs": "a network file system (NFS)",
    "nfs4": "a network file system (NFS)",
    "cifs": "a network file system (SMB)",
    "smb3": "a network file system (SMB)",
    "afs": "a network file system (AFS)",
    "ceph": "a network file system (Ceph)",
    "lustre": "a network file system (Lustre)",
    "gpfs": "a network file system (GPFS)",
    "beegfs": "a network file system (BeeGFS)",
    "9p": "the host's files (9p)",
    "virtiofs": "the host's files (virtiofs)",
    "vboxsf": "the host's files (VirtualBox)",
    "drvfs": "Windows' files (drvfs)",
}
"""File systems whose files another program or machine gives out -> words (proc(5), filesystems(5))."""
LOCAL = {"overlay": "a container's own layers (overlay)", "tmpfs": "memory (tmpfs)", "ramfs": "memory (ramfs)"}
MEMORY = ("tmpfs", "ramfs")


def words(row: ReadFolder) -> str | None:
    """What a folder lies on; None where that is not known."""
    kind = row.get("file_system")
    if kind is None:
        return None
    if kind.startswith("fuse"):
        return f"a FUSE file system ({kind.partition('.')[2] or kind})"
    return {**REMOTE, **LOCAL}.get(kind) or f"{kind} on {row.get('source')}"


def is_remote(row: ReadFolder) -> bool:
    """Whether another program or machine gives out its files: not all that is read there counts as a disk's."""
    kind = row.get("file_system") or ""
    return kind in REMOTE or kind.startswith("fuse")


def read_folders(state: RunState) -> list[ReadFolder]:
    """The folders that the training reads from, those on remote file systems first, then the most often seen."""
    told = state.read_files
    if told is None or not told.looks:
        return []
    often = [row for row in told.folders if row["looks"] >= max(MIN_LOOKS, SEEN * told.looks)]
    return sorted(often, key=lambda row: (not is_remote(row), -row["looks"]))


def storage(state: RunState, share: float, stage: Stage, idle: float | None) -> Finding | None:
    """Files or a network that the pipeline waits for: no core is busy, and bytes come in."""
    if idle is None or idle < IDLE_WAIT or not (stage.get("reads") or stage.get("python")):
        return None
    folders = read_folders(state)
    remote = next(filter(is_remote, folders), None)
    disk, net, files = typical(state, "disk_read"), typical(state, "net_recv"), typical(state, "file_read")
    rates = {"storage": disk, "the network": net}
    if remote is not None:
        rates = {str(words(remote)): max((rate for rate in (disk, files) if rate is not None), default=None)}
    elif _disk_leads(disk, net):
        folders = [row for row in folders if row.get("file_system") not in MEMORY]
    else:
        folders = []  # a network that no mounted file system stands for: the files that are open are others
    source, rate = max(((name, rate or 0.0) for name, rate in rates.items()), key=lambda item: item[1])
    if rate * (state.judged.mean_s or 0.0) < READ_BYTES_PER_STEP:
        return None
    what = named(stage, state.places)
    looks = state.read_files.looks if state.read_files else 0
    return Finding(
        id="input.storage",
        severity="warning",
        share=share,
        title=f"The pipeline waits for {source}: {what} reads {units.size(rate)} a second while the cores are idle",
        lines=[
            *(_folder(row, looks) for row in folders[:SHOWN]),
            f"{stage_label(stage, state.places)}: {units.duration(batch_s(stage))} a batch",
            f"no core is busy in {units.share(idle)} of the waiting",
        ],
        next=_next(folders[0] if folders else None),
        knob=None if input_knob(state) or not serial_map(stage) else "input=parallel",
        evidence={
            "stage": stage_evidence(stage),
            "idle_share_of_wait": rounded(idle),
            "disk_read_bytes_per_s": rounded(disk),
            "file_read_bytes_per_s": rounded(files),
            "net_received_bytes_per_s": rounded(net),
            "folders": folders,
            "looks": looks,
        },
    )


def _disk_leads(disk: float | None, net: float | None) -> bool:
    return (disk or 0.0) >= (net or 0.0)


def _folder(row: ReadFolder, looks: int) -> str:
    lies_on = words(row)
    where = f" lies on {lies_on}, mounted at {row.get('mount')}" if lies_on is not None else ""
    return f"{row['folder']}{where} (files open in {row['looks']} of {looks} looks)"


def _next(row: ReadFolder | None) -> str:
    at_once = "read several files at once (interleave with num_parallel_calls=tf.data.AUTOTUNE)"
    if row is None:
        return f"Copy the data to a local disk first, or keep it in few large TFRecord files and {at_once}."
    if is_remote(row):
        return f"Copy {row['folder']} to a local disk first, or keep it in few large TFRecord files and {at_once}."
    if row.get("file_system") == "overlay":
        return f"Mount the data into the container as a volume; keep it in few large TFRecord files and {at_once}."
    return f"Keep the data in few large TFRecord files and {at_once}; cache() what fits in memory."
