"""Each parser against random and mutated input for some seconds, and each verb against broken run folders; prints how
many it took, and what became of them.

    python -m benchmarks.fuzz [--seconds 10] [--seed 1] [--only folder]

Failures are inputs that raised something they must not, or that took longer than a second (a verb: ten, one of them
draws the screen); for a verb also an exit status that is neither 0 nor 2, and a refusal in more than one line. The
property tests (tests/unit/test_properties.py) look at the same parsers with fewer inputs and sharper questions.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tfgpu_tui.cli import command_line
from tfgpu_tui.core import checkpoint, events
from tfgpu_tui.core.measures import csv_text
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.core.validate import misfit, read
from tfgpu_tui.report import compare, report_json
from tfgpu_tui.report.html_page import html
from tfgpu_tui.runs import files, history, listing, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.meta import here
from tfgpu_tui.supervisor.server import FROM_AGENTS
from tfgpu_tui.terminal.lines import TerminalLines, char_width

RECORDINGS = Path(__file__).parents[1] / "demo" / "recordings"
SLOW_S, SLOW_VERB_S = 1.0, 10.0
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


OTHERS = [None, True, -1, 0, 1e308, 1e-300, 1e29, "x", [], {}, [1], {"a": 1}, "nan", 2**70, float("nan"), -1.5,
          float("inf"), "\ud800", "\x1b]0;x\x07", [[[1]]], {"": None}, 10**400, "../../x", "9" * 400]  # fmt: skip


def nested(chance: random.Random, value: object, often: float = 0.1) -> object:
    """A JSON value with parts of it exchanged for others: right in form, wrong in type or in size."""
    if chance.random() < often:
        return chance.choice(OTHERS)
    if isinstance(value, dict):
        return {key: nested(chance, item, often) for key, item in value.items()}
    if isinstance(value, list):
        return [nested(chance, item, often) for item in value]
    return value


class Fuzz:
    """One parser after the other."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._chance = random.Random(seed)
        self._lines = [line for path in sorted(RECORDINGS.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
        self._runs = [path.read_bytes().splitlines() for path in sorted(RECORDINGS.glob("*.jsonl"))]
        self.failed = 0

    def run(self, name: str, one: Callable[[random.Random], str]) -> None:
        """Calls `one` for some seconds; it returns a word for what became of its input."""
        outcomes: Counter[str] = Counter()
        slowest, count, end = 0.0, 0, time.perf_counter() + self._seconds
        while time.perf_counter() < end:
            began = time.process_time()  # other programs may be busy, too
            try:
                outcomes[one(self._chance)] += 1
            except Exception as error:
                outcomes[f"FAILED {type(error).__name__}"] += 1
                if self.failed < 5:
                    print(f"  {name}: {error!r}")
                    print("".join(traceback.format_exc().splitlines(keepends=True)[-7:]))
                self.failed += 1
            took = time.process_time() - began
            slowest = max(slowest, took)
            if took > (SLOW_VERB_S if name == "folder" else SLOW_S):
                print(f"  {name}: took {took:.1f} s")
                self.failed += 1
            count += 1
        words = ", ".join(f"{number} {word}" for word, number in outcomes.most_common())
        print(f"{name:16} {count:9} inputs   slowest {slowest * 1e3:7.1f} ms   {words}")

    def folder(self, chance: random.Random) -> str:
        """A run's folder with something broken in it, and one verb on it, as it is typed."""
        return one_verb(chance, self._runs)

    def told(self, chance: random.Random) -> str:
        """A journal with other values in it, and all that is made of one: report, page, table, comparison."""
        often, lines = chance.choice([0.002, 0.02, 0.1]), chance.choice(self._runs)
        start = chance.randrange(len(lines))
        state, left_out = RunState(), 0
        for line in (lines[0], *lines[start : start + HEAD], *lines[-3:]):
            event = read(json.dumps(nested(chance, json.loads(line), often)).encode())
            left_out += event is None or not state.take(event)
        built = report_json.build(state, chance.choice(sorted(report_json.LIFE_WORDS)), left_out)
        json.dumps(built, allow_nan=False)
        (report_json.text(built) + html(state, built) + csv_text(state)).encode()
        other = fold([event for line in self._runs[0][:HEAD] if (event := events.decode(line)) is not None])
        compare.text(state, other).encode()
        json.dumps(compare.as_json(other, state), allow_nan=False)
        checkpoint.load(checkpoint.dump(state))
        return "told whole" if not left_out else "told, with lines left out"

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
        event = events.decode(json.dumps(data))
        if event is None or misfit(event):
            return "refused"
        state = RunState()
        try:  # as the recorder does
            state.apply(event)
            line = events.encode(event)
        except Exception:
            return "not digested"
        assert events.decode(line) == event
        report_json.text(report_json.build(state))
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
                listing.summary(run)
                return "read"
            return "refused"


VERBS = (["runs"], ["runs", "--json"], ["report", "RUN"], ["report", "RUN", "--json"], ["report", "last"],
         ["report", "RUN", "--html", "OUT"], ["compare", "RUN", "good"], ["compare", "good", "RUN", "--json"],
         ["attach", "RUN", "--plain"], ["prune", "--keep", "0"], ["stop", "RUN"])  # fmt: skip
PICTURE = ["replay", "RUN", "--svg", "OUT", "--size", "100x30"]
HEAD = 250
"""Events of a recording that a run's journal holds."""


def one_verb(chance: random.Random, recordings: list[list[bytes]]) -> str:
    """Makes two runs, breaks one, and runs a verb in this process; a word for how that ended."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["TFGPU_TUI_STATE_DIR"] = place
        runs = Path(place) / "runs"
        for name in ("good", "broken"):
            folder = runs / name
            files.make_private(folder)
            journal = chance.choice(recordings)[:HEAD]
            write_run(folder, [*journal, ENDED] if chance.random() < 0.7 else journal)
        for _ in range(chance.randint(1, 3)):
            break_something(chance, runs / "broken", recordings)
        words = PICTURE if chance.random() < 0.05 else chance.choice(VERBS)
        named = {"RUN": "broken", "OUT": os.path.join(place, "out")}
        said, wrong = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong), deadline():
            status = command_line.main([named.get(word, word) for word in words])
        said.getvalue().encode()
        assert status in (0, 2), status
        assert wrong.getvalue().count("\n") <= 1, wrong.getvalue()
        if status == 0 and words[0] == "prune":
            assert not (runs / "broken").exists() or "is kept" in said.getvalue(), said.getvalue()
        return f"{words[0]} {'done' if status == 0 else 'refused'}"


ENDED = events.encode(events.RunEnded(t=1.8e9, exit_code=0, wall_s=9.0)).encode()


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """A verb that hangs fails."""

    def over(number: int, frame: object) -> None:
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, over)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)


def write_run(folder: Path, lines: list[bytes]) -> None:
    """A run as the monitor leaves it, with a rolled part and the state after it."""
    run, half = rundir.RunDir(folder), len(lines) // 2
    meta = rundir.Meta(id=folder.name, argv=["train.py"], cwd="/", python="python", socket="/tmp/s", script_pid=1,
                       started=1.7e9, **here()._asdict())  # fmt: skip
    rundir.write_meta(run, meta)
    (folder / "journal.0001.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[:half]) + b"\n", 1))
    state = fold([event for line in lines[:half] if (event := events.decode(line)) is not None])
    history.write_state(run.journal, 1, state)
    run.journal.write_bytes(b"\n".join(lines[half:]) + b"\n")
    run.output_log.write_bytes(b"step 1\r\nstep 2\r\n")
    run.report_path.write_text("{}")


def break_something(chance: random.Random, folder: Path, recordings: list[list[bytes]]) -> None:
    """One of the files becomes another one: other values, other bytes, no file at all."""
    path = folder / chance.choice(
        ["meta.json", "meta.json", "journal.jsonl", "journal.jsonl", "journal.0001.jsonl.gz", "journal.0001.state.gz",
         "output.log", "report.json", "journal.end"]
    )  # fmt: skip
    data = path.read_bytes() if path.is_file() else ENDED + b"\n"
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    kind = chance.randrange(14)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(chance.choice(["/dev/zero", "/dev/stdin", "nowhere", str(folder), path.name]))
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.write_bytes(chance.choice([b"", b"[" * 100_000, b'{"a":' * 50_000, b"\0" * 3_000_000, b"x" * 9_000_000]))
    elif kind == 4:
        pass  # it is missing
    elif path.suffix == ".gz" and kind < 10:
        try:
            plain = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            plain = data
        path.write_bytes(gzip.compress(with_other_values(chance, plain), 1))
    elif kind < 10:
        path.write_bytes(with_other_values(chance, data))
    else:
        path.write_bytes(mutated(chance, data))


def with_other_values(chance: random.Random, data: bytes) -> bytes:
    """JSON lines, or one JSON object, with some values exchanged."""
    out, often = [], chance.choice([0.001, 0.02, 0.1])
    for line in data.splitlines() if data.count(b'"type"') > 1 or data.count(b"\n") < 2 else [data]:
        try:
            out.append(json.dumps(nested(chance, json.loads(line), often)).encode())
        except (ValueError, RecursionError):
            out.append(line)
    return b"\n".join(out) + b"\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    names = ("line", "event", "journal", "checkpoint", "terminal", "meta", "told", "folder")
    parser.add_argument("--only", choices=names)
    options = parser.parse_args()
    fuzz = Fuzz(options.seconds, options.seed)
    for name in [options.only] if options.only else names:
        fuzz.run(name, getattr(fuzz, name))
    print("no failure" if not fuzz.failed else f"{fuzz.failed} FAILURES")
    return 1 if fuzz.failed else 0


if __name__ == "__main__":
    sys.exit(main())
