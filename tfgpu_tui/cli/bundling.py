"""The verb `bundle`: one archive for a bug report; paths, arguments and names are replaced, and shown before."""

from __future__ import annotations

import argparse
import errno
import getpass
import io
import json
import os
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfgpu_tui.cli import reading
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.replaced import Replaced
from tfgpu_tui.runs import files, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import printable

LARGEST_BYTES = 256 * 2**20
SHOWN = 40


def bundle(options: argparse.Namespace) -> int:
    """Writes tfgpu-tui-report.tar.gz here, or where --output says; returns the exit status."""
    run = rundir.find(options.run)
    target = Path(options.output or "tfgpu-tui-report.tar.gz")
    if target.exists():
        raise UsageError(f"{target} is there already: give another name with --output")
    replaced = Replaced()
    contents = _contents(run, replaced)
    print(printable_list(replaced, contents))
    if not options.yes and not _agreed(target):
        print("nothing was written")
        return 1
    try:
        files.replace(target.absolute(), archive(contents))
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from error
    print(printable(f"written: {target}"))
    return 0


def _contents(run: RunDir, replaced: Replaced) -> dict[str, bytes]:
    told = reading.told(run)
    meta = rundir.read_meta(run)
    host, user = platform.node(), _user()
    for name, kind in ((host, "host"), (told.state.environment.host, "host"), (user, "user"), (run.id, "run")):
        if name and name != "root":
            replaced.name(name, kind)
    for i, word in enumerate(meta.argv):
        replaced.argument(word, i)
    try:
        lines = _lines(run.journal)
    except OSError as error:
        raise UsageError(f"{run.journal}: {error.strerror}") from error
    return {
        "journal.jsonl": b"".join(_line(line, replaced.value) for line in lines),
        "report.json": _json(replaced.value(told.built())),
        "doctor.json": _json(replaced.value(_doctor(meta.python))),
    }


def _lines(path: Path) -> list[bytes]:
    """Of the whole journal, its rolled parts first. Raises OSError."""
    found, size = [], 0
    with JournalReader(path) as reader:
        for line in reader.lines():
            size += len(line)
            if size > LARGEST_BYTES:
                raise OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES} bytes", str(path))
            found.append(line)
    if not found:
        path.stat()
    return found


def _line(line: bytes, value: Callable[[Any], Any]) -> bytes:
    try:
        return json.dumps(value(json.loads(line))).encode() + b"\n"
    except ValueError:
        return b""  # half a line, of a run that was killed


def _doctor(python: str) -> Any:
    from tfgpu_tui import doctor

    return doctor.run(python).as_json() if os.access(python, os.X_OK) else {"unknown": "its interpreter is not here"}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def printable_list(replaced: Replaced, contents: dict[str, bytes]) -> str:
    """What would be written, and what stands for what in it."""
    rows = [f"  {new:<16} {old}" for old, new in list(replaced.names.items())[:SHOWN]]
    more = len(replaced.names) - len(rows)
    return "\n".join(
        ["In the archive, with the words on the left in place of those on the right:", "",
         *map(printable, rows), *([f"  and {more} more"] if more > 0 else []), "",
         *(f"  {name:<16} {len(data) / 1024:.0f} KiB" for name, data in contents.items()), "",
         "Names of layers, functions and metrics are as they were; so is what else stands",
         "in lines of the script and in messages of its errors."]
    )  # fmt: skip


def _agreed(target: Path) -> bool:
    if not os.isatty(0):
        raise UsageError("look at the list above, and say --yes to write it")
    return input(printable(f"Write {target}? [y/N] ")).strip().lower() in ("y", "yes")


def archive(contents: dict[str, bytes]) -> bytes:
    """A tar.gz without this user's name or the time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in contents.items():
            entry = tarfile.TarInfo(f"tfgpu-tui-report/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
