"""The verb `journal`: a run's events as they are, a line each; followed, for a reader on another host.

With `--from PART:LINE` a reader that lost its link goes on where it stood: lines of the kind `{"at":[3,1200]}` say
which part of the journal, and how many lines of it, came before what follows. From 0:0, or where that part is no more,
it begins at the newest state of the run: `{"at":[7,0],"state":"…"}` (see `core.checkpoint`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time

from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.core import checkpoint
from tfgpu_tui.runs import history, listing, rundir
from tfgpu_tui.runs.journal import JournalReader, parts
from tfgpu_tui.runs.rundir import RunDir

EVERY_S = 0.5
LIFE_EVERY_S = 5.0
STILL_HERE_S = 10.0
"""An empty line now and then: a link that is gone is noticed by the one that writes."""


def journal(options: argparse.Namespace) -> int:
    """Writes the lines to stdout; with --follow until the run is over."""
    run = rundir.find(options.run)
    if options.start is None:
        first = next(iter(parts(run.journal)), 1)
        reader, skip = JournalReader(run.journal, first), 0
    else:
        reader, skip = _begin(run, *_place(options.start))
    with reader:
        _Writer(run, reader, skip, told=options.start is not None).write(follow=options.follow)
    return 0


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9}):(\d{1,12})", text, re.ASCII)
    if found is None:
        raise UsageError(f'--from {text:.40}: give PART:LINE, as the lines with "at" have it, or 0:0')
    return int(found[1]), int(found[2])


def _begin(run: RunDir, part: int, line: int) -> tuple[JournalReader, int]:
    """The reader, and how many lines of its part are known already."""
    there = parts(run.journal)
    if part > 0 and (part in there or part == max(there, default=0) + 1):
        _say({"at": [part, line]})
        return JournalReader(run.journal, part), line
    state, reader = history.latest(run.journal)
    dumped = checkpoint.dump(state) if state.run is not None else None
    _say({"at": [reader.number, 0], **({"state": dumped} if dumped is not None else {})})
    return reader, 0


def _say(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


class _Writer:
    """Lines of a journal to stdout."""

    def __init__(self, run: RunDir, reader: JournalReader, skip: int, told: bool) -> None:
        self._run, self._reader, self._skip, self._told = run, reader, skip, told
        self._part = reader.number

    def write(self, follow: bool) -> None:
        looked = wrote = time.monotonic()
        goes_on = True
        while True:
            more = self._write_on()
            now = time.monotonic()
            if more:
                wrote = now
                continue
            if not follow or not goes_on:
                return
            if now - wrote >= STILL_HERE_S:
                wrote = now
                sys.stdout.write("\n")
            sys.stdout.flush()
            if now - looked >= LIFE_EVERY_S:
                looked = now
                goes_on = listing.goes_on(self._run)  # its last lines come after that
            time.sleep(EVERY_S)

    def _write_on(self) -> bool:
        """False where there was nothing new."""
        try:
            lines = self._reader.next_lines()
        except OSError as error:
            raise rundir.RunNotFound(f"{self._run.journal} can't be read: {os.strerror(error.errno or 0)}") from error
        if not lines:
            return False
        if self._reader.number != self._part:
            self._part, self._skip = self._reader.number, 0
            if self._told:
                _say({"at": [self._part, 0]})
        known, self._skip = lines[: self._skip], max(0, self._skip - len(lines))
        for line in lines[len(known) :]:
            sys.stdout.write(line.decode("utf-8", "replace") + "\n")
        return True
