"""Each parser against random and mutated input for some seconds; prints how many it took, and what became of them.

    python -m benchmarks.fuzz [--seconds 10] [--seed 1]

Failures are inputs that raised something they must not, or that took longer than a second. The property tests
(tests/unit/test_properties.py) look at the same parsers with fewer inputs and sharper questions.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tfgpu_tui import checkpoint, events, report, rundir
from tfgpu_tui.journal import JournalReader
from tfgpu_tui.state import RunState, fold
from tfgpu_tui.supervisor.server import FROM_AGENTS
from tfgpu_tui.validate import misfit
from tfgpu_tui.terminal import TerminalLines, char_width

RECORDINGS = Path(__file__).parents[1] / "demo" / "recordings"
SLOW_S = 1.0
SNIPPETS = [b"\x1b[", b"\x1b]0;", b"\x07", b"\x1b\\", b"\x9b", b"\x90", b"\r", b"\n", b"\b", b"\t", b"\xff", b"\xe6",
            b"1e999", b"NaN", b"null", b"[[[[", b'{"$":', b'"v":', b"-1", b'"t":', b"99999999999999999999", b"\x00",
            b"2147483648A", b"38;5;300m", b"\\ud800"]  # fmt: skip


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut, doubled or replaced by something that parsers dislike."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(out))
        kind = chance.randrange(5)
        if kind == 0 and out:
            out[at % len(out)] = chance.randrange(256)
        elif kind == 1:
            del out[at : at + chance.randint(1, 40)]
        elif kind == 2:
            out[at:at] = chance.choice(SNIPPETS)
        elif kind == 3:
            out[at:at] = out[at // 2 : at // 2 + chance.randint(1, 60)]
        else:
            out[at : at + 8] = chance.randbytes(chance.randint(0, 12))
    return bytes(out)


def nested(chance: random.Random, value: object, depth: int = 0) -> object:
    """A JSON value with parts of it exchanged for others: right in form, wrong in type."""
    if chance.random() < 0.1:
        return chance.choice([None, True, -1, 1e308, "x", [], {}, [1], {"a": 1}, "nan", 2**70])
    if isinstance(value, dict):
        return {key: nested(chance, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [nested(chance, item, depth + 1) for item in value]
    return value


class Fuzz:
    """One parser after the other."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._chance = random.Random(seed)
        self._lines = [line for path in sorted(RECORDINGS.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
        self.failed = 0

    def run(self, name: str, one: Callable[[random.Random], str]) -> None:
        """Calls `one` for some seconds; it returns a word for what became of its input."""
        outcomes: Counter[str] = Counter()
        slowest, count, end = 0.0, 0, time.perf_counter() + self._seconds
        while (began := time.perf_counter()) < end:
            try:
                outcomes[one(self._chance)] += 1
            except Exception as error:
                outcomes[f"FAILED {type(error).__name__}"] += 1
                if self.failed < 5:
                    print(f"  {name}: {error!r}")
                self.failed += 1
            took = time.perf_counter() - began
            slowest = max(slowest, took)
            self.failed += took > SLOW_S
            count += 1
        words = ", ".join(f"{number} {word}" for word, number in outcomes.most_common())
        print(f"{name:16} {count:9} inputs   slowest {slowest * 1e3:7.1f} ms   {words}")

    def line(self, chance: random.Random) -> str:
        """A journal's line."""
        event = events.decode(mutated(chance, chance.choice(self._lines)))
        return "refused" if event is None else "taken"

    def event(self, chance: random.Random) -> str:
        """An agent's event on its way through the check of its form, the reducer, the journal and the report."""
        data = json.loads(chance.choice(self._lines))
        data = {**{k: nested(chance, v) for k, v in data.items()}, "type": data["type"], "pid": 1}
        if data["type"] not in FROM_AGENTS:
            data["type"] = chance.choice(sorted(FROM_AGENTS))
        event = events.from_dict(data)
        if event is None or misfit(event):
            return "refused"
        state = RunState()
        try:  # as the recorder does
            state.apply(event)
            line = events.encode(event)
        except Exception:
            return "not digested"
        assert events.decode(line) == event
        report.text(report.build(state))
        return "taken"

    def journal(self, chance: random.Random) -> str:
        """A whole file, with good lines between broken ones, plain or compressed."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            lines = [mutated(chance, x) if chance.random() < 0.3 else x for x in chance.sample(self._lines, 20)]
            data = b"\n".join(lines)
            path.write_bytes(data)
            if chance.random() < 0.5:
                packed = gzip.compress(data, 1)
                part = mutated(chance, packed) if chance.random() < 0.5 else packed
                (path.parent / "journal.0001.jsonl.gz").write_bytes(part)
            with JournalReader(path) as reader:
                return "read" if list(reader) else "empty"

    def checkpoint(self, chance: random.Random) -> str:
        """A checkpoint, mutated as bytes or as values."""
        known = [event for x in chance.sample(self._lines, 5) if (event := events.decode(x)) is not None]
        text = checkpoint.dump(fold(known))
        data = json.dumps(nested(chance, json.loads(text))) if chance.random() < 0.5 else mutated(chance, text.encode())
        try:
            checkpoint.load(data)
        except ValueError:
            return "refused"
        return "taken"

    def terminal(self, chance: random.Random) -> str:
        """The script's output."""
        data = mutated(chance, b"".join(chance.choice(SNIPPETS) for _ in range(chance.randint(1, 200))))
        terminal = TerminalLines()
        for at in range(0, len(data), 37):
            terminal.feed(data[at : at + 37])
        assert all(char_width(c) >= 0 for c in terminal.text() if c != "\n")
        return "shown"

    def meta(self, chance: random.Random) -> str:
        """A run's meta.json."""
        with tempfile.TemporaryDirectory() as folder:
            run = rundir.RunDir(Path(folder))
            meta = rundir.Meta(id="x", argv=["train.py"], cwd="/", python="python", socket="/tmp/s", script_pid=1)
            rundir.write_meta(run, meta)
            run.meta_path.write_bytes(mutated(chance, run.meta_path.read_bytes()))
            with contextlib.suppress(rundir.RunNotFound):
                rundir.summary(run)
                return "read"
            return "refused"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzz = Fuzz(options.seconds, options.seed)
    for name in ("line", "event", "journal", "checkpoint", "terminal", "meta"):
        fuzz.run(name, getattr(fuzz, name))
    print("no failure" if not fuzz.failed else f"{fuzz.failed} FAILURES")
    return 1 if fuzz.failed else 0


if __name__ == "__main__":
    sys.exit(main())
