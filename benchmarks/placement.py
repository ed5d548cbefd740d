"""The placement table against the truth, on three logical CPU devices; and what it costs for ResNet50, once.

For each op of TensorFlow's final graph: its layer against an op callback (and the tape, for gradients), its device
against the placer's own log; for each layer of the table: the devices of its forward and backward ops.

    python -m benchmarks.placement [--python PATH ...] [--only device_scopes attention …] [--no-cost]

An op that no callback saw (made in C++, or by grappler), or a fused one, has no true layer: it isn't counted among the
ops, and in the layers' summaries it stands where the table has it, on the device that TensorFlow gave it. Exit status 1
below 98 % of ops in any case, when a layer's summary is wrong, or when ResNet50 costs 0.3 s or more.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.agent.conftest import run_script

CASES = Path(__file__).parent / "placement_cases"
LEAST_SHARE, MOST_SECONDS = 0.98, 0.3
NOT_COUNTED = re.compile(
    r"_?(Arg|Retval|NoOp|Const|Placeholder|DeviceArg|DeviceRetval|VarHandleOp|ReadVariableOp|VarIsInitializedOp|Switch"
    r"|DestroyResourceOp|Enter|Exit|Merge|NextIteration|LoopCond|Timestamp|InplaceAdd|InplaceUpdate)"
)
"""Ops that compute nothing, and the monitor's own clock."""
PLACED = re.compile(r"^(\S+): \((\w+)\): (/job:\S*/device:\w+:\d+)$", re.M)

PHASES = (("forward", False), ("backward", True))

Devices = dict[tuple[str, bool], Counter[str]]


@dataclass
class Score:
    """One training: how many ops and layers agree with the truth."""

    case: str
    owners: int = 0
    owners_right: int = 0
    devices: int = 0
    devices_right: int = 0
    layers: int = 0
    layers_right: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        shares = (self.owners_right / max(self.owners, 1), self.devices_right / max(self.devices, 1))
        return min(shares) >= LEAST_SHARE and self.layers_right == self.layers and min(self.owners, self.layers) > 0


def short(device: str) -> str:
    return device.rpartition("device:")[2]


def _row(stack: list[str], rows: dict[str, Any]) -> str:
    """The innermost layer of a stack that has a row of its own."""
    return next((layer for layer in reversed(stack) if layer in rows), "")


def _difference(shown: dict[str, int], truth: Counter[str], unseen: Counter[str]) -> str | None:
    """What is wrong with one phase of a row: an op too many or too few on any device."""
    expected = dict(truth + unseen)
    return None if shown == expected else f"{shown} instead of {expected}"


def score(told: dict[str, Any], placer: dict[str, str]) -> Score:
    """Compares one training's table with what the witness and the placer saw."""
    out = Score(told["case"])
    rows = {row["layer"].rpartition("/")[2]: row for row in told["rows"]}
    truth: Devices = defaultdict(Counter)
    unseen: Devices = defaultdict(Counter)
    for name, op, device, ours, ours_backward, seen in told["nodes"]:
        if NOT_COUNTED.fullmatch(op):
            continue
        if name in placer:
            out.devices += 1
            out.devices_right += placer[name] == device
        if seen is not None and not seen[0]:  # the script's own, the loss', the optimizer's: no layer may claim it
            out.owners += 1
            out.owners_right += not ours or ours[0].startswith("(")
            if ours and not ours[0].startswith("("):
                out.wrong.append(f"{op}: {'/'.join(ours)} instead of nobody")
                unseen[_row(ours, rows), ours_backward][short(device)] += 1
            continue
        if seen is None or op.startswith("_Fused"):
            if ours is not None:
                unseen[_row(ours, rows), ours_backward][short(device)] += 1
            continue
        stack, backward = list(seen[0]), bool(seen[1])
        out.owners += 1
        if ours == stack and ours_backward == backward:
            out.owners_right += 1
        else:
            out.wrong.append(f"{op}: {'/'.join(ours or ['nobody'])} instead of {'/'.join(stack)}")
        truth[_row(stack, rows), backward][short(placer.get(name, device))] += 1
    for name, row in rows.items():
        if (name, False) not in truth:
            continue  # no op of it has a witness: a row that only holds others
        out.layers += 1
        wrong = [_difference(row[phase], truth[name, back], unseen[name, back]) for phase, back in PHASES]
        out.layers_right += not any(wrong)
        out.wrong += [f"layer {name}: {words}" for words in wrong if words]
    return out


def compare(python: str, only: Iterable[str] = ()) -> list[Score]:
    """Runs the trainings under the agent with one interpreter."""
    _, process = run_script(CASES / "models.py", python, list(only), timeout_s=220)
    if process.returncode != 0:
        raise RuntimeError(process.stderr[-2000:])
    scores = []
    for part in re.findall(r"(.*?)^CASE (\{.*?\})$", process.stdout, re.M | re.S):
        placer = {name: device for name, _, device in PLACED.findall(part[0])}
        scores.append(score(json.loads(part[1]), placer))
    return scores


def cost(python: str) -> dict[str, Any]:
    """Seconds that ResNet50's placement costs: `calls` and `export` on the training's thread; `analysis`, as processor
    time, on the agent's own."""
    _, process = run_script(CASES / "resnet50.py", python, timeout_s=220)
    if process.returncode != 0:
        raise RuntimeError(process.stderr[-2000:])
    told: dict[str, Any] = json.loads(process.stdout.partition("COST ")[2])
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter with TensorFlow; default: this one")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--no-cost", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    bad = False
    for python in options.python or [sys.executable]:
        print(f"\n{python}")
        print(f"{'case':22} {'ops':>6} {'layer right':>12} {'ops':>6} {'device right':>13}  layers  right")
        scores = compare(python, options.only)
        for s in scores:
            owners, devices = s.owners_right / max(s.owners, 1), s.devices_right / max(s.devices, 1)
            print(
                f"{s.case:22} {s.owners:6} {owners:11.1%} {s.devices:7} {devices:12.1%} {s.layers:8} {s.layers_right:6}"
                f"{'' if s.good else '  <'}"
            )
            for words, count in Counter(s.wrong).most_common(None if options.verbose else 3):
                print(f"    {count:4} x {words}")
            bad = bad or not s.good
        all_owners = sum(s.owners_right for s in scores) / max(1, sum(s.owners for s in scores))
        all_devices = sum(s.devices_right for s in scores) / max(1, sum(s.devices for s in scores))
        print(f"{'all':22} {'':6} {all_owners:11.1%} {'':7} {all_devices:12.1%}")
        if not options.no_cost:
            spent = cost(python)
            total = spent["calls"] + spent["export"] + spent["analysis"]
            print(
                f"ResNet50, {spent['ops']} ops, {spent['rows']} rows, {spent['bytes'] // 1024} KiB: {total:.3f} s once "
                f"(calls {spent['calls']:.3f}, export {spent['export']:.3f}, beside it {spent['analysis']:.3f})"
            )
            bad = bad or total >= MOST_SECONDS
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
