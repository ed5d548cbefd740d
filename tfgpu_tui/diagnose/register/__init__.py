"""The register of findings: the one place that holds, for each id, what it means, its signal, limits, cure and demo.

From it come `tfgpu-tui explain`, docs/findings.md, the explanation on the screen, and the order in which findings are
ranked. It reads the constants of the modules that make the findings, and only `ranking` and `explain` read it: a
finding knows nothing of its own explanation. (pure)
"""

from __future__ import annotations

from tfgpu_tui.diagnose.register import compute, gpu, host, inputs, memory, place, ranks, run
from tfgpu_tui.diagnose.register.entry import Entry, Limit

__all__ = ["ENDINGS", "FAMILIES", "REGISTER", "Entry", "Limit", "family_of"]

FAMILIES: dict[str, tuple[str, tuple[Entry, ...]]] = {
    "gpu": ("TensorFlow does not see the GPU, or can't use it as it should", gpu.ENTRIES),
    "place": ("The GPU is visible, the work is elsewhere", place.ENTRIES),
    "input": ("The step waits for input", inputs.ENTRIES),
    "host": ("The step waits for the host", host.ENTRIES),
    "compute": ("The computation itself takes longer than it needs to", compute.ENTRIES),
    "memory": ("Memory, of the GPU and of the host", memory.ENTRIES),
    "run": ("The run itself", (*run.ENTRIES, *ranks.ENTRIES)),
}
"""Family -> (what its findings have in common, they)."""

REGISTER: dict[str, Entry] = {entry.id: entry for _, entries in FAMILIES.values() for entry in entries}

ENDINGS = frozenset(entry.id for entry in REGISTER.values() if entry.ends_run)
"""What ended a run: it stands before all else of its severity."""


def family_of(entry: Entry) -> str:
    """The key of its family; an id does not always begin with it (`dtype.float64` is of `place`)."""
    return next(family for family, (_, entries) in FAMILIES.items() if entry in entries)
