"""Long journals: rolled into compressed parts, each with the run's state after it; the way to a state without a fold of
everything.

Beside part N (`journal.000N.jsonl.gz`) lies `journal.000N.state.gz`: the reducer's state after its last event. A reader
that wants to know how things stand takes the newest of those, and folds only what came after it; one that wants to see
the run again reads the parts. When the parts together are larger than `KEEP_BYTES` the oldest are deleted: what they
held is in the states behind them, at the resolution of the screen's own plots.
"""

from __future__ import annotations

import bisect
import gzip
import math
import os
import shutil
import threading
import zlib
from pathlib import Path

from tfgpu_tui.core import checkpoint
from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs import files
from tfgpu_tui.runs.journal import JournalReader, JournalWriter, part_path, parts

PART_BYTES = 8 << 20
"""Of a journal's file that makes it a part: so much is folded in half a second."""
KEEP_BYTES = 256 << 20
"""Of all compressed parts of a run together."""
LARGEST_STATE = 64 << 20
"""Bytes of a state, before and after it is unpacked: one of a month with 8 GPUs has 3 MiB."""
_compressing = threading.Lock()
_STATE = ".state.gz"
_BROKEN = (OSError, EOFError, zlib.error, ValueError, RecursionError)
"""What a checkpoint that was cut off, or is none, raises when it is read."""


def roll(journal: Path, writer: JournalWriter, state: RunState) -> threading.Thread | None:
    """Makes a part of what was written, and goes on in a new file; `state` is the fold of all of it. The compression is
    done by the thread that is returned; None where the file had been deleted and is begun anew. Raises OSError where
    the folder takes no new file: the journal then goes on as it was."""
    if writer.deleted:
        files.make_private(journal.parent)
        writer.roll(None)
        write_state(journal, max(parts(journal), default=0), state)
        return None
    number = max(parts(journal), default=0) + 1
    part = part_path(journal, number, ".jsonl")
    writer.roll(part)
    write_state(journal, number, state)
    return compress_parts(journal)


def compress_parts(journal: Path) -> threading.Thread | None:
    """Compresses, in a thread, the parts that are not yet; None where there are none."""
    plain = [path for path in parts(journal).values() if path.suffix != ".gz"]
    if not plain:
        return None
    thread = threading.Thread(target=_compress, args=(journal, plain), name="compress", daemon=True)
    thread.start()
    return thread


def write_state(journal: Path, number: int, state: RunState) -> None:
    """The state after part `number`; 0: before the first part that is there. Raises OSError."""
    # Level 1: the supervisor's loop waits for it, and 3 MB take 30 ms.
    packed = gzip.compress(checkpoint.dump(state).encode(), compresslevel=1)
    files.replace(part_path(journal, number, _STATE), packed)


def _compress(journal: Path, plain: list[Path]) -> None:
    with _compressing:  # one thread at a time: a fast journal is rolled again before the last part is done
        for part in plain:
            if part.exists():
                _compress_part(journal, part)


def _compress_part(journal: Path, part: Path) -> None:
    done = part.with_name(part.name + ".gz")
    try:
        fd, temporary = files.new_beside(done)
    except OSError:
        return
    try:
        with part.open("rb") as source, open(fd, "wb") as out, gzip.open(out, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        temporary.replace(done)
        part.unlink()
        _bound(journal)
    except OSError:
        temporary.unlink(missing_ok=True)  # the part stays as it is, and is read as it is


def _bound(journal: Path) -> None:
    """Deletes the oldest parts while all of them are too large; the state after the last deleted one is kept."""
    there = parts(journal)
    sizes = {number: os.stat(path).st_size for number, path in there.items()}
    for number in list(there)[:-1]:
        if sum(sizes.values()) <= KEEP_BYTES:
            return
        if not part_path(journal, number, _STATE).exists():
            return
        there[number].unlink()
        del sizes[number]
        part_path(journal, number - 1, _STATE).unlink(missing_ok=True)


def states(journal: Path) -> list[int]:
    """The parts after which the state is known; 0 stands for before the first one."""
    names = journal.parent.glob(f"{journal.stem}.*{_STATE}")
    return sorted(int(text) for name in names if (text := name.name.split(".")[-3]).isdecimal())


def read_state(journal: Path, number: int) -> RunState | None:
    """The state after part `number`; None where there is none, or a broken one."""
    try:
        packed = files.read_bounded(part_path(journal, number, _STATE), LARGEST_STATE)
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # of gzip
        data = unpacker.decompress(packed, LARGEST_STATE)
        return checkpoint.load(data) if unpacker.eof else None
    except _BROKEN:
        return None


def latest(journal: Path) -> tuple[RunState, JournalReader]:
    """A state, and the reader of the events that came after it: the shortest way to how things stand."""
    for number in reversed(states(journal)):
        state = read_state(journal, number)
        if state is not None:
            return state, JournalReader(journal, number + 1)
    return RunState(), JournalReader(journal)


def before(journal: Path, t: float) -> tuple[RunState, JournalReader]:
    """The same for the time `t`, unix seconds: the newest state of that time or before it; without one, all of it."""
    last = last_before(journal, t)
    for number in reversed([number for number in states(journal) if number <= last]):
        state = read_state(journal, number)
        if state is not None and state.now <= t:
            return state, JournalReader(journal, number + 1)
    return whole(journal)


def last_before(journal: Path, t: float) -> int:
    """The last of `states` that was written before the time `t`, as the events after them tell it; -1 for none."""
    there = states(journal)
    earlier = bisect.bisect_right(there, t, key=lambda number: _first_time(journal, number + 1))
    return there[earlier - 1] if earlier else -1


def _first_time(journal: Path, number: int) -> float:
    """When the first event of a part happened; of the file that grows, where there is no such part."""
    with JournalReader(journal, number) as reader:
        first = reader.poll(1)
    return first[0].t if first else math.inf


def whole(journal: Path) -> tuple[RunState, JournalReader]:
    """The same from the oldest event that is there: for a replay."""
    first = next(iter(parts(journal)), 1)
    state = read_state(journal, first - 1)
    return state or RunState(), JournalReader(journal, first)
