"""Limits on the difference between two runs: what breaks them, what does not, what can't be told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.journals import pipeline, start, state_of, steps, windows
from tfgpu_tui.cli import command_line
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import MemoryDevice
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import compare, limits
from tfgpu_tui.report.limits import Verdict

RECORDINGS = Path(__file__).parents[2] / "demo" / "recordings"


def run(wait: float = 0.0, step_ms: float = 10.0, count: int = 40) -> RunState:
    return state_of(start(), windows(count, wait, step_ms), pipeline())


def drifting(step_ms: float, seed: int, count: int = 80) -> RunState:
    """A run whose machine changes its speed by up to 20 % every few seconds."""
    chance, factor = random.Random(seed), 1.0
    parts: list[ev.Event] = []
    for number in range(count):
        if number % 10 == 0:
            factor = chance.uniform(0.9, 1.1)
        parts.append(steps(2 + number * 0.2, step_ms=step_ms * factor))
    return state_of(start(), parts)


@pytest.mark.parametrize(
    ("text", "before", "after", "verdict"),
    [
        ("step_time > +5%", run(), run(step_ms=11), Verdict.BROKEN),
        ("step_time > +5%", run(), run(step_ms=10.4), Verdict.KEPT),
        ("step time > +5 %", run(step_ms=11), run(), Verdict.KEPT),
        ("step_time < -50%", run(), run(step_ms=4), Verdict.BROKEN),
        ("examples/s < -5%", run(), run(step_ms=11), Verdict.BROKEN),
        ("examples/s < -5%", run(step_ms=11), run(), Verdict.KEPT),
        ("input_wait > +10 points", run(), run(wait=0.3), Verdict.BROKEN),
        ("input_wait > +10 points", run(), run(wait=0.05), Verdict.KEPT),
        ("input_wait > +1 point", run(), run(wait=0.05), Verdict.BROKEN),
        ("compute < -10 points", run(), run(wait=0.3), Verdict.BROKEN),
        ("step_time > +5%", run(), run(count=3), Verdict.UNKNOWN),
        ("gpu_memory > +5%", run(), run(), Verdict.UNKNOWN),
        ("memory > +5%", run(), run(), Verdict.UNKNOWN),
    ],
)
def test_a_limit(text: str, before: RunState, after: RunState, verdict: Verdict) -> None:
    judged = limits.judge(limits.parse(text), before, after)
    assert judged.verdict is verdict, judged
    assert (judged.change is None) == (verdict is Verdict.UNKNOWN)
    assert text in limits.line(judged)


def test_memory_is_compared_by_its_peaks() -> None:
    states = [run(), run()]
    for state, size in zip(states, (1e9, 1.2e9), strict=True):
        device: MemoryDevice = {"device": "GPU:0", "peak_bytes": int(size)}
        state.apply(ev.TfMemory(t=state.now, src="agent", pid=4711, devices=[device]))
    assert limits.judge(limits.parse("gpu_memory > +10%"), *states).verdict is Verdict.BROKEN
    assert limits.judge(limits.parse("gpu_memory > +25%"), *states).verdict is Verdict.KEPT


def test_the_drift_of_a_machine_breaks_no_limit() -> None:
    """200 pairs of equal runs on a machine whose speed changes: a limit of no change at all breaks in a few of them."""
    limit = limits.parse("step_time > +0%")
    pairs = [(drifting(10, seed), drifting(10, seed + 1000)) for seed in range(200)]
    broken = sum(limits.judge(limit, a, b).verdict is Verdict.BROKEN for a, b in pairs)
    assert broken <= 20
    assert limits.judge(limits.parse("step_time > +5%"), drifting(10, 1), drifting(15, 2)).verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no limit: write it as"),
        ("step_time", "is no limit"),
        ("step_time > 5%", "is no limit"),
        ("step_time >= +5%", "is no limit"),
        ("speed > +5%", "speed is not measured here; there are step_time, examples_per_s"),
        ("input_wait > +5%", "input_wait changes by points: write 'input_wait > +5 points'"),
        ("step_time > +5 points", "step_time changes by %: write 'step_time > +5%'"),
        ("step_time > +" + "9" * 400 + "%", "is no limit"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_fits(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"limit|measured|changes") as caught:
        limits.parse(text)
    assert words in str(caught.value)


def test_one_broken_limit_says_more_than_an_unknown_one() -> None:
    slower = run(), run(step_ms=12)
    found = [
        limits.judge(limits.parse(t), *slower) for t in ("step_time > +50%", "gpu_memory > +1%", "step_time > +5%")
    ]
    assert [each.verdict.value for each in found] == [0, 3, 1]
    assert limits.status(found) is Verdict.BROKEN
    assert limits.status(found[:2]) is Verdict.UNKNOWN
    assert limits.status(found[:1]) is limits.status([]) is Verdict.KEPT


def test_the_command_exits_with_what_became_of_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = (str(RECORDINGS / f"cpu-input-{name}.jsonl") for name in ("bound", "parallel"))

    def status(*arguments: str) -> int:
        return command_line.main(["compare", *arguments])

    assert status(slow, fast, "--fail-if", "step_time > +5%") == 0
    assert "kept             step_time > +5%: -" in capsys.readouterr().out
    assert status(fast, slow, "--fail-if", "step_time > +5%", "--fail-if", "gpu_memory > +5%") == 1
    out = capsys.readouterr().out
    assert "broken           step_time > +5%: +" in out and "can't be judged  gpu_memory > +5%" in out
    assert status(fast, slow, "--fail-if", "gpu_memory > +5%", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["limits"] == [
        {"limit": "gpu_memory > +5%", "verdict": "unknown", "change": None, "noise": None, "unit": "percent"}
    ]
    assert status(fast, slow) == 0
    capsys.readouterr()
    assert status(fast, slow, "--fail-if", "nonsense") == 2
    assert capsys.readouterr().err.startswith("tfgpu-tui: --fail-if: 'nonsense' is no limit")


def test_the_noise_of_a_share_is_its_drift() -> None:
    assert compare.share_error(run(wait=0.3), "input_wait") == pytest.approx(0, abs=1e-9)
    parts: list[ev.Event] = [steps(2 + n * 0.5, wait=0.1 if n // 10 % 2 else 0.5) for n in range(80)]
    assert compare.share_error(state_of(start(), parts), "input_wait") > 0.05
